/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the command, runs it, and is the one place that prints its error.
 */
#include "config.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/redact.h"
#include "cmd/cmd.h"
#include "view/style.h"

/* Exit codes by name, for the diagnostics of the envelope: stable, unlike the text. */
static const char *code_name(int exit_code)
{
    switch (exit_code) {
#define RWF_EXIT(name, code, help)                                                     \
    case code:                                                                         \
        return #name;
#include "base/exit.def"
#undef RWF_EXIT
    default:
        return "FAILED";
    }
}

static void print_error(struct cmd_call *call, const struct rwf_err *e)
{
    struct rwf_str text = {0};

    rwf_redact(&text, e->text, strlen(e->text));
    if (call->json) {
        cmd_diagnose(call,
                     json_pack("{s:s, s:s, s:o}", "code", code_name(rwf_exit_code(e)),
                               "severity", "error", "message",
                               cmd_string(text.data ? text.data : "")));
    } else {
        fflush(stdout);
        fprintf(stderr, "raywf: %serror:%s %s\n", view_on(call->color_err, VIEW_ERROR),
                view_off(call->color_err), text.data ? text.data : "");
    }
    rwf_str_free(&text);
}

static void show_help(struct cmd_call *call)
{
    if (call->json)
        call->data = cmd_json(call->cmd);
    else if (call->cmd)
        cmd_help_one(call->cmd, stdout, call->color);
    else
        cmd_help_all(stdout, call->color);
}

static int enter_folder(const struct cmd_call *call, struct rwf_err *err)
{
    const char *dir = cmd_text(call, "directory", NULL);

    if (dir && chdir(dir) < 0)
        return rwf_fail(err, RWF_E_USAGE, "-C %s: cannot enter that folder: %m", dir);
    return 0;
}

static int dispatch(struct cmd_call *call, struct rwf_err *err)
{
    if (cmd_given(call, "help")) {
        show_help(call);
        return 0;
    }
    if (!call->cmd && cmd_given(call, "version"))
        call->cmd = cmd_find("version");
    if (!call->cmd) {
        if (!call->json)
            cmd_help_all(stderr, call->color_err);
        return rwf_fail(err, RWF_E_USAGE, "no command given");
    }
    if (cmd_given(call, "version") && strcmp(call->cmd->name, "version") != 0)
        return rwf_fail(err, RWF_E_USAGE, "--version stands alone: raywf --version");
    if (call->quiet)
        rwf_log_set_level(RWF_LOG_ERROR);
    if (call->verbose)
        rwf_log_set_level(call->verbose > 1 ? RWF_LOG_DEBUG : RWF_LOG_INFO);
    if (enter_folder(call, err) < 0)
        return -1;
    return call->cmd->run(call, err);
}

int main(int argc, char **argv)
{
    struct cmd_call call = {.format = "text"};
    struct rwf_err err = RWF_ERR_INIT;

    rwf_mem_init();
    int code = cmd_parse(&call, argc, argv, &err);
    if (code == 0)
        code = dispatch(&call, &err);
    for (size_t i = 0; i < call.error_count; i++)
        print_error(&call, &call.errors[i]);
    if (code < 0) {
        print_error(&call, &err);
        code = rwf_exit_code(&err);
    }
    if (call.json && !(call.cmd && call.cmd->flags & CMD_BARE))
        cmd_envelope(&call, code);
    if (cmd_flush(&err) < 0) {
        call.json = false; /* the envelope is what could not be written */
        print_error(&call, &err);
        code = rwf_exit_worse(code, rwf_exit_code(&err));
    }
    rwf_redact_clear();
    cmd_call_free(&call);
    return code;
}
