/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster in one process: a head and some nodes ("n0", "n1", …) on one loop, that
 * reach each other on loopback as on any network. Links to the head are in memory, and
 * a test can cut them one by one.
 */
#ifndef RWF_TESTS_NODES_RIG_H
#define RWF_TESTS_NODES_RIG_H
#include <check.h>
#include <poll.h>
#include <stdbool.h>
#include "base/clock.h"
#include "head/head.h"
#include "far/inside.h"
#include "far/step.h"

#define RIG_NODES 4
#define RIG_LONG (300 * RWF_NS_PER_S) /* a test that waits so long has failed */

struct rig {
    uv_loop_t loop;
    char dir[64];
    struct head *head;
    struct node *nodes[RIG_NODES];
    struct wire_link *links[RIG_NODES]; /* the head's end */
    size_t count;
    int fds;
};
extern struct rig rig;

/* count nodes that all know each other. */
void rig_open(size_t count);
uint64_t rig_session(const char *name); /* that n0 knows; 0: none */
/* Ends what is left; no process and no descriptor may be left over. */
void rig_close(void);
/* As if the machine were gone for the others: it is neither stopped nor told. */
void rig_lose(size_t i);
void rig_destroy(size_t i); /* node_destroy, as at a sudden end of its process */
void rig_stop(size_t i);    /* node_stop, then node_destroy */
/* Node "n<i>" in a process of its own, which the test kills and waits for: its main
 * calls rig_node_main when its first argument is "node". */
int rig_spawn(size_t i);
int rig_node_main(char **argv);
/* All links between nodes are cut. */
void rig_cut(void);
/* dir/name, to be freed at the end of the test by itself. */
const char *rig_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *rig_read(const char *path); /* the caller frees; "" if there is none */
void rig_write(const char *path, const char *text);

/* Turns the loop until what is true. */
#define UNTIL(what)                                                                    \
    do {                                                                               \
        int64_t end__ = rwf_clock_mono() + RIG_LONG;                                   \
        while (!(what)) {                                                              \
            uv_run(&rig.loop, UV_RUN_NOWAIT);                                          \
            ck_assert_msg(rwf_clock_mono() < end__, "waited for %s", #what);           \
            if (!(what))                                                               \
                poll(NULL, 0, 1);                                                      \
        }                                                                              \
    } while (0)

#endif
