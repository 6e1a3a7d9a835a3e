/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <sys/utsname.h>

#include "cmd/cmd.h"
#include "plan/key.h"

static const char *const features[] = {
#ifdef HAVE_DUCKDB
    "duckdb",
#endif
#ifdef RWF_SANITIZED
    "sanitizer",
#endif
    NULL,
};

static int version_run(struct cmd_call *call, struct rwf_err *err)
{
    struct utsname os;

    (void)err;
    if (!call->json) {
        puts(PACKAGE_STRING);
        return 0;
    }
    uname(&os);
    json_t *list = json_array();
    for (size_t i = 0; features[i]; i++)
        json_array_append_new(list, json_string(features[i]));
    call->data =
        json_pack("{s:s, s:s, s:i, s:o, s:s, s:s, s:s}", "version", PACKAGE_VERSION,
                  "language", "raywf/v1", "key_epoch", PLAN_KEY_EPOCH, "features", list,
                  "compiler", __VERSION__, "os", os.sysname, "machine", os.machine);
    return 0;
}

const struct cmd cmd_version = {
    .name = "version",
    .group = CMD_MORE,
    .summary = "print the version; with --format json: how this program was built",
    .exits = "0",
    .run = version_run,
};
