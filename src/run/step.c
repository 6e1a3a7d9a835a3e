/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of `raywf run-step DIR`: one built-in step in a process of its own. Its
 * working folder is the attempt's; what it reports goes to the descriptor in
 * RAYWF_REPORT, what goes wrong is its last line on stderr, and which kind of wrong its
 * exit code.
 */
#include "config.h"
#include "run/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/redact.h"
#include "base/str.h"
#include "run/secrets.h"

#define STEP_JSON_MAX (256 * 1024 * 1024)

static void report(const struct op_run *r, const json_t *line)
{
    char *text = r->report_fd < 0 ? NULL : json_dumps(line, JSON_COMPACT);
    if (text == NULL)
        return;
    struct rwf_str whole = {NULL, 0, 0};
    rwf_str_addf(&whole, "%s\n", text);
    /* One write, so that lines of several threads do not mix. A head that is gone is no
     * reason to fail. */
    (void)rwf_fs_write_all(r->report_fd, whole.data, whole.len, NULL);
    rwf_str_free(&whole);
    free(text);
}

/* The programs that a step starts must not hold the pipe open. */
static int report_fd(void)
{
    const char *given = getenv("RAYWF_REPORT");
    int fd = given == NULL ? -1 : atoi(given);
    if (fd <= 2 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return fd;
}

static json_t *load(const char *dir, struct rwf_err *err)
{
    json_error_t why;
    size_t len;
    char *path = rwf_fs_join(dir, "step.json");
    char *text = rwf_fs_read(path, STEP_JSON_MAX, &len, err);
    json_t *step = text == NULL ? NULL : json_loadb(text, len, 0, &why);
    if (text != NULL && !json_is_object(step)) {
        rwf_fail(err, RWF_E_BUG, "%s: %s", path, why.text);
        json_decref(step);
        step = NULL;
    }
    free(text);
    free(path);
    return step;
}

static int run(const struct op *const *ops, const char *dir, const json_t *step,
               int *ret_exit_code, struct rwf_err *err)
{
    const char *name = json_string_value(json_object_get(step, "op"));
    const struct op *op = name == NULL ? NULL : op_by_name(ops, name);
    if (op == NULL || op->run == NULL)
        return rwf_fail(err, RWF_E_BUG, "%s/step.json: no such built-in step: '%s'",
                        dir, name == NULL ? "" : name);
    json_t *spec = run__secrets_unmark(json_object_get(step, "spec"));
    struct op_run r = {.address = json_string_value(json_object_get(step, "address")),
                       .spec = spec,
                       .dir = dir,
                       .memory = json_integer_value(json_object_get(step, "memory")),
                       .cpu = json_number_value(json_object_get(step, "cpu")),
                       .resources = json_object_get(step, "resources"),
                       .ranks = (int)json_integer_value(json_object_get(step, "ranks")),
                       .places = json_object_get(step, "places"),
                       .report = report,
                       .report_fd = report_fd()};
    int result = op->run(&r, err);
    *ret_exit_code = r.exit_code;
    json_decref(spec);
    return result;
}

static void tell(const struct rwf_err *err)
{
    struct rwf_str text = {NULL, 0, 0};
    rwf_redact(&text, err->text, strlen(err->text));
    fprintf(stderr, "%s\n", text.data);
    rwf_str_free(&text);
}

int engine_run_step(const struct op *const *ops, const char *dir)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *absolute = rwf_fs_absolute(dir);
    json_t *step = load(absolute, &err);
    int exit_code = 0;
    int given = 0;
    if (step == NULL || run(ops, absolute, step, &given, &err) != 0) {
        tell(&err);
        /* An errno is the step's own trouble (a file it could not read), not ours. */
        exit_code = given != 0 ? given
                    : err.code < RWF_E_BASE ? RWF_E_FAILED - RWF_E_BASE
                                            : rwf_exit_code(&err);
    }
    json_decref(step);
    free(absolute);
    return exit_code;
}
