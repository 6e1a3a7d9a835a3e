/* SPDX-License-Identifier: Apache-2.0
 *
 * A step in a test: how it is started, and all that is heard of it.
 */
#ifndef RWF_TESTS_STEP_RIG_H
#define RWF_TESTS_STEP_RIG_H
#include <string.h>
#include "base/str.h"
#include "nodes_rig.h"

struct run {
    struct far_step *step;
    int pid, exits, reports;
    struct rwf_str out, err, tail;
    struct proc_exit exit;
    char *last_report;
    size_t bytes;
    bool count_only;
};

struct how {
    const char *dir, *local, *cwd; /* NULL: some */
    json_t *env;                   /* taken over */
    bool shared;
    int64_t grace, log_limit;
};

/* On node `from`; where: as far_step_start. how may be NULL; argv is taken over. */
void run_argv(struct run *r, size_t from, const char *where, json_t *argv,
              const struct how *how);
/* A shell script, from node 0. */
void run_start(struct run *r, const char *where, const char *script,
               const struct how *how);
void run_free(struct run *r);
extern const struct far_step_handler run_handler; /* without its ctx */
bool is_alive(int pid);
const char *text_of(const struct rwf_str *s);

#define SAYS(text, part)                                                               \
    ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text)

#endif
