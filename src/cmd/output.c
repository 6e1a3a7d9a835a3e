/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"

int cmd_keep_error(struct cmd_call *call, const struct rwf_err *err)
{
    *RWF_PUSH(call->errors, call->error_count, call->error_cap) = *err;
    return rwf_exit_code(err);
}

json_t *cmd_string(const char *text)
{
    json_t *out = json_string(text);

    if (out)
        return out;
    char *copy = rwf_xstrdup(text);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    out = json_string(copy);
    free(copy);
    return out;
}

void cmd_diagnose(struct cmd_call *call, json_t *item)
{
    if (!call->diagnostics)
        call->diagnostics = json_array();
    json_array_append_new(call->diagnostics, item);
}

int cmd_write(const char *path, const char *text, size_t len, struct rwf_err *err)
{
    if (strcmp(path, "-") != 0)
        return rwf_fs_write(path, text, len, false, err);
    fwrite(text, 1, len, stdout);
    return 0;
}

int cmd_flush(struct rwf_err *err)
{
    int failed = fflush(stdout) != 0 || ferror(stdout);

    if (!failed || errno == EPIPE)
        return 0;
    return rwf_fail(err, RWF_E_ENV, "cannot write to standard output: %s",
                    strerror(errno));
}

void cmd_envelope(const struct cmd_call *call, int exit_code)
{
    struct rwf_str out = {0};
    json_t *all =
        json_pack("{s:s, s:s, s:b, s:i, s:O?, s:O?}", "v", "1.0", "command",
                  call->cmd ? call->cmd->name : "", "ok", exit_code == 0, "exit_code",
                  exit_code, "data", call->data, "diagnostics", call->diagnostics);

    if (!call->diagnostics)
        json_object_set_new(all, "diagnostics", json_array());
    char *text = json_dumps(all, JSON_COMPACT);
    rwf_assert(text != NULL);
    rwf_redact(&out, text, strlen(text));
    fwrite(out.data, 1, out.len, stdout);
    putchar('\n');
    rwf_str_free(&out);
    free(text);
    json_decref(all);
}
