/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/cmd.h"

#include <string.h>

#include "base/mem.h"

#define CMD(name) extern const struct cmd cmd_##name;
#include "cmd/commands.def"
#undef CMD

const struct cmd *const cmd_all[] = {
#define CMD(name) &cmd_##name,
#include "cmd/commands.def"
#undef CMD
    NULL,
};

const struct cmd_option cmd_common[] = {
    {"format", 0, CMD_CHOICE, "text|json", false, "text",
     "json prints one envelope on stdout: v, command, ok, exit_code, data, "
     "diagnostics"},
    {"color", 0, CMD_CHOICE, "auto|always|never", false, "auto",
     "colours; auto: on a terminal, unless NO_COLOR is set"},
    {"quiet", 'q', CMD_FLAG, NULL, false, NULL, "say less: errors and results only"},
    {"verbose", 'v', CMD_FLAG, NULL, true, NULL, "say more; twice: for debugging"},
    {"directory", 'C', CMD_DIR, "DIR", false, NULL, "work as if started in DIR"},
    {"help", 'h', CMD_FLAG, NULL, false, NULL, "this help"},
    {"version", 0, CMD_FLAG, NULL, false, NULL, "print the version"},
    {0},
};

const struct cmd *cmd_find(const char *name)
{
    for (size_t i = 0; cmd_all[i]; i++)
        if (strcmp(cmd_all[i]->name, name) == 0 ||
            (cmd_all[i]->alias && strcmp(cmd_all[i]->alias, name) == 0))
            return cmd_all[i];
    return NULL;
}

const char *cmd_group_title(enum cmd_group group)
{
    static const char *const titles[CMD_GROUP_COUNT] = {
        [CMD_WRITE] = "Write a recipe",
        [CMD_EXECUTE] = "Run it",
        [CMD_OBSERVE] = "See what happened",
        [CMD_KEEP] = "Look after the machine",
        [CMD_MORE] = "More",
    };

    return titles[group];
}

const struct cmd_exit *cmd_exits(size_t *ret_count)
{
    static struct cmd_exit rows[] = {
        {0, "success"},
#define RWF_EXIT(name, code, help) {code, help},
#include "base/exit.def"
#undef RWF_EXIT
    };

    /* The rows of exit.def stand in order of priority; people look codes up. */
    for (size_t i = 1; i < RWF_COUNT(rows); i++)
        for (size_t k = i; k > 0 && rows[k].code < rows[k - 1].code; k--) {
            struct cmd_exit swap = rows[k];
            rows[k] = rows[k - 1];
            rows[k - 1] = swap;
        }
    *ret_count = RWF_COUNT(rows);
    return rows;
}
