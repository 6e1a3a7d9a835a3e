/* SPDX-License-Identifier: Apache-2.0
 *
 * For tasks written in a shell: one line of JSON into the descriptor in RAYWF_REPORT.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cmd/cmd.h"

/* Words of the protocol that are no metrics. */
static const char *const reserved[] = {"step", "message"};

static int add_metric(json_t *line, const char *text, struct rwf_err *err)
{
    const char *equals = strchr(text, '=');
    char *end;
    double value = strtod(equals + 1, &end);

    if (end == equals + 1 || *end)
        return rwf_fail(err, RWF_E_USAGE, "%s: \"%s\" is not a number", text,
                        equals + 1);
    if (!isfinite(value))
        return rwf_fail(err, RWF_E_USAGE,
                        "%s: a metric is a finite number; leave it out instead", text);
    char *name = rwf_xstrndup(text, (size_t)(equals - text));
    int status = 0;
    for (size_t i = 0; i < RWF_COUNT(reserved); i++)
        if (strcmp(reserved[i], name) == 0)
            status = rwf_fail(err, RWF_E_USAGE, "\"%s\" is no name for a metric%s",
                              name, i == 0 ? "; use --step N" : "");
    if (status == 0 && json_object_get(line, name))
        status = rwf_fail(err, RWF_E_USAGE, "metric \"%s\" is given twice", name);
    if (status == 0)
        json_object_set_new(line, name,
                            value == floor(value) && fabs(value) < 1e15
                                ? json_integer((json_int_t)value)
                                : json_real(value));
    free(name);
    return status;
}

static int report_fd(struct rwf_err *err)
{
    const char *text = getenv("RAYWF_REPORT");
    char *end;

    if (!text || !*text)
        return rwf_fail(
            err, RWF_E_USAGE,
            "RAYWF_REPORT is not set: this command works inside a task that "
            "raywf runs");
    long fd = strtol(text, &end, 10);
    if (*end || fd < 0 || fcntl((int)fd, F_GETFD) < 0)
        return rwf_fail(
            err, RWF_E_ENV,
            "RAYWF_REPORT=%s is no open file descriptor; a program between the "
            "task and this command closed it",
            text);
    return (int)fd;
}

static int report_metric_run(struct cmd_call *call, struct rwf_err *err)
{
    json_t *line = json_object();
    int status = 0, fd = -1;

    for (size_t i = 0; i < call->operand_count && status == 0; i++)
        status = add_metric(line, call->operands[i], err);
    if (status == 0)
        status = fd = report_fd(err);
    if (fd >= 0) {
        if (cmd_given(call, "step"))
            json_object_set_new(line, "step", json_integer(cmd_count(call, "step", 0)));
        char *text = json_dumps(line, JSON_COMPACT);
        /* One write, so that lines of several programs do not mix. */
        char *whole = rwf_xasprintf("%s\n", text);
        status = rwf_fs_write_all(fd, whole, strlen(whole), err);
        free(whole);
        free(text);
    }
    json_decref(line);
    return status < 0 ? -1 : 0;
}

static const struct cmd_option options[] = {
    {"step", 0, CMD_COUNT, "N", false, NULL,
     "the place on the x axis, such as the epoch"},
    {0},
};

const struct cmd cmd_report_metric = {
    .name = "report-metric",
    .group = CMD_MORE,
    .flags = CMD_BARE,
    .summary = "report metrics from inside a task; also progress=0.5, rows=N, bytes=N",
    .examples = "raywf report-metric acc=0.95 loss=0.12 --step 3",
    .exits = "0 2 7",
    .operands = {{"NAME=VALUE", CMD_SETTING, 1, CMD_MANY}},
    .options = options,
    .run = report_metric_run,
};
