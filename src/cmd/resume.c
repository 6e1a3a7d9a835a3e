/* SPDX-License-Identifier: Apache-2.0
 *
 * resume and retry: the same run goes on, from its own log and its own plan.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/drive.h"
#include "cmd/opened.h"

static size_t ended_steps(const struct run_state *s, bool retry)
{
    size_t n = s->counts[STEP_SUCCEEDED] + s->counts[STEP_CACHED];

    return retry ? n : n + s->counts[STEP_FAILED] + s->counts[STEP_SKIPPED];
}

static int go_on(struct cmd_call *call, bool retry, struct rwf_err *err)
{
    struct cmd_opened o;
    const char **keys = NULL;

    if (cmd_drive_check(call, err) < 0)
        return -1;
    int code = cmd_open_run(call, cmd_operand(call, 0, "last"), true, &o, err);
    if (code != 0)
        goto out;
    if (strcmp(o.state->status, "succeeded") == 0) {
        if (!call->quiet && !call->json)
            fprintf(stderr, "run %s has succeeded; there is nothing left to do\n",
                    o.id);
        call->data = cmd_run_json(&o);
        goto out;
    }
    cmd_drive_take_over(call, o.state->options);
    keys = cmd_drive_keys(o.plan);
    code = cmd_drive(call,
                     &(struct cmd_drive){.c = &o.c,
                                         .root = o.root,
                                         .run = o.id,
                                         .plan = o.plan,
                                         .keys = keys,
                                         .serve_control = json_string_value(
                                             json_object_get(o.state->options, "control")),
                                         .retry_failed = retry,
                                         .ended = ended_steps(o.state, retry)},
                     err);
out:
    free(keys);
    cmd_opened_free(&o);
    return code;
}

static int resume_run(struct cmd_call *call, struct rwf_err *err)
{
    return go_on(call, false, err);
}

static int retry_run(struct cmd_call *call, struct rwf_err *err)
{
    if (!cmd_given(call, "failed"))
        return rwf_fail(err, RWF_E_USAGE,
                        "say what to retry: raywf retry %s --failed (to run everything "
                        "again: raywf run FILE --no-cache)",
                        cmd_operand(call, 0, "last"));
    return go_on(call, true, err);
}

static const struct cmd_option resume_options[] = {
    CMD_DRIVE_OPTIONS,
    {0},
};

const struct cmd cmd_resume = {
    .name = "resume",
    .group = CMD_EXECUTE,
    .summary = "go on with a run that was stopped or killed",
    .details =
        "Replays the run's event log, keeps every finished step, and runs the rest "
        "with the recipe as it was then, and with the options that the run was started "
        "with: --no-cache, --fail-fast, --timeout (it begins anew), --address, --key, "
        "--priority and --wait-for-nodes. One that is given here holds from now on.",
    .examples = "raywf resume\nraywf resume 20261122-182000-3f9a1c",
    .exits = "0 1 2 7 8 9 11 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = resume_options,
    .run = resume_run,
};

static const struct cmd_option retry_options[] = {
    {"failed", 0, CMD_FLAG, NULL, false, NULL,
     "the steps that failed, and what was skipped or stopped because of them"},
    CMD_DRIVE_OPTIONS,
    {0},
};

const struct cmd cmd_retry = {
    .name = "retry",
    .group = CMD_EXECUTE,
    .summary = "run the failed steps of a run again",
    .details = "Options of the run stay, as with raywf resume.",
    .examples = "raywf retry last --failed",
    .exits = "0 1 2 7 8 9 11 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = retry_options,
    .run = retry_run,
};
