/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that the help shows comes from the tables.
 */
#include "config.h"

#include "cmd/cmd.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"
#include "view/style.h"

#define WIDTH 88
#define INDENT 26

void cmd_wrap(FILE *out, const char *text, int indent, int width)
{
    int column = indent;

    while (*text) {
        size_t len = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)len > width) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, len, out);
        column += (int)len;
        text += len;
        if (*text == '\n') {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        }
        text += *text != '\0';
    }
    fputc('\n', out);
}

/* "FILE", "[RUN]", "FILE…" */
static void operand_usage(const struct cmd_operand *o, struct rwf_str *out)
{
    rwf_str_addf(out, " %s%s%s%s", o->min ? "" : "[", o->name, o->max > 1 ? "..." : "",
                 o->min ? "" : "]");
}

void cmd_usage(const struct cmd *cmd, struct rwf_str *out)
{
    rwf_str_addf(out, "raywf %s", cmd->name);
    if (cmd->options && cmd->options->name)
        rwf_str_add(out, " [OPTION...]");
    for (const struct cmd_operand *o = cmd->operands; o->name; o++)
        operand_usage(o, out);
}

void cmd_option_label(const struct cmd_option *o, struct rwf_str *out)
{
    if (o->letter)
        rwf_str_addf(out, "-%c, ", o->letter);
    rwf_str_addf(out, "--%s", o->name);
    if (o->metavar)
        rwf_str_addf(out, " %s", o->metavar);
}

static void heading(FILE *out, const char *text, bool color)
{
    fprintf(out, "\n%s%s%s\n", view_on(color, VIEW_BOLD), text, view_off(color));
}

static void print_option(const struct cmd_option *o, FILE *out, bool color)
{
    struct rwf_str label = {0}, help = {0};

    cmd_option_label(o, &label);
    rwf_str_add(&help, o->help);
    if (o->repeat && o->type != CMD_FLAG)
        rwf_str_add(&help, "; may be given several times");
    if (o->fallback)
        rwf_str_addf(&help, " (default: %s)", o->fallback);
    fprintf(out, "  %s%s%s", view_on(color, VIEW_NAME), label.data, view_off(color));
    if (label.len + 4 > INDENT)
        fprintf(out, "\n%*s", INDENT, "");
    else
        fprintf(out, "%*s", INDENT - 2 - (int)label.len, "");
    cmd_wrap(out, help.data, INDENT, WIDTH);
    rwf_str_free(&label);
    rwf_str_free(&help);
}

static void print_common(const struct cmd *cmd, FILE *out, bool color)
{
    heading(out, "Common options", color);
    for (const struct cmd_option *o = cmd_common; o->name; o++) {
        bool own = false;
        for (const struct cmd_option *c = cmd ? cmd->options : NULL; c && c->name; c++)
            own |= strcmp(c->name, o->name) == 0;
        bool bare = cmd && cmd->flags & CMD_BARE && strcmp(o->name, "format") == 0;
        bool elsewhere = cmd && strcmp(o->name, "version") == 0;
        if (!own && !bare && !elsewhere)
            print_option(o, out, color);
    }
}

void cmd_help_all(FILE *out, bool color)
{
    fprintf(
        out,
        "raywf %s: one checked recipe from data to results, planned before it runs,\n"
        "durable while it runs, cached after it ran.\n\n"
        "Usage: raywf COMMAND [OPTION...] [OPERAND...]\n",
        PACKAGE_VERSION);
    for (int g = 0; g < CMD_GROUP_COUNT; g++) {
        heading(out, cmd_group_title(g), color);
        for (size_t i = 0; cmd_all[i]; i++) {
            const struct cmd *c = cmd_all[i];
            if ((int)c->group != g || c->flags & CMD_HIDDEN)
                continue;
            fprintf(out, "  %s%-15s%s", view_on(color, VIEW_NAME), c->name,
                    view_off(color));
            cmd_wrap(out, c->summary, 17, WIDTH);
        }
    }
    print_common(NULL, out, color);
    fputs("\nStart with: raywf init && raywf run recipe.yaml\n"
          "More: raywf help COMMAND, raywf help exit-codes, raywf explain KEY\n",
          out);
}

static void print_exits(const struct cmd *cmd, FILE *out, bool color)
{
    size_t count;
    const struct cmd_exit *rows = cmd_exits(&count);

    if (!cmd->exits)
        return;
    heading(out, "Exit codes", color);
    char *list = rwf_xstrdup(cmd->exits), *save = NULL;
    for (char *t = strtok_r(list, " ", &save); t; t = strtok_r(NULL, " ", &save))
        for (size_t i = 0; i < count; i++)
            if (rows[i].code == atoi(t))
                fprintf(out, "  %3d  %s\n", rows[i].code, rows[i].help);
    free(list);
}

void cmd_help_one(const struct cmd *cmd, FILE *out, bool color)
{
    struct rwf_str usage = {0};

    cmd_usage(cmd, &usage);
    fprintf(out, "Usage: %s\n", usage.data);
    rwf_str_free(&usage);
    if (cmd->alias)
        fprintf(out, "Alias: raywf %s\n", cmd->alias);
    fputc('\n', out);
    fputc(toupper((unsigned char)cmd->summary[0]), out);
    cmd_wrap(out, cmd->summary + 1, 0, WIDTH);
    if (cmd->details) {
        fputc('\n', out);
        cmd_wrap(out, cmd->details, 0, WIDTH);
    }
    if (cmd->options && cmd->options->name) {
        heading(out, "Options", color);
        for (const struct cmd_option *o = cmd->options; o->name; o++)
            print_option(o, out, color);
    }
    print_common(cmd, out, color);
    if (cmd->examples) {
        heading(out, "Examples", color);
        fputs("  ", out);
        for (const char *p = cmd->examples; *p; p++) {
            fputc(*p, out);
            if (*p == '\n')
                fputs("  ", out);
        }
        fputc('\n', out);
    }
    print_exits(cmd, out, color);
}

static const char *const type_names[] = {
    [CMD_FLAG] = "flag",         [CMD_TEXT] = "text",       [CMD_FILE] = "file",
    [CMD_DIR] = "folder",        [CMD_CHOICE] = "choice",   [CMD_COUNT] = "count",
    [CMD_DURATION] = "duration", [CMD_SETTING] = "setting", [CMD_RUN] = "run",
    [CMD_STEP] = "step",         [CMD_COMMAND] = "command",
};

static json_t *options_json(const struct cmd_option *o)
{
    json_t *list = json_array();

    for (; o && o->name; o++) {
        char letter[2] = {o->letter, '\0'};
        json_t *item =
            json_pack("{s:s, s:s, s:b, s:s}", "name", o->name, "type",
                      type_names[o->type], "repeatable", o->repeat, "help", o->help);
        if (o->letter)
            json_object_set_new(item, "letter", json_string(letter));
        if (o->metavar)
            json_object_set_new(item, "value", json_string(o->metavar));
        if (o->fallback)
            json_object_set_new(item, "default", json_string(o->fallback));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *command_json(const struct cmd *cmd)
{
    struct rwf_str usage = {0};
    json_t *operands = json_array();

    cmd_usage(cmd, &usage);
    for (const struct cmd_operand *o = cmd->operands; o->name; o++)
        json_array_append_new(operands, json_pack("{s:s, s:s, s:i, s:b}", "name",
                                                  o->name, "type", type_names[o->type],
                                                  "min", o->min, "many", o->max > 1));
    json_t *item = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", cmd->name,
                             "group", cmd_group_title(cmd->group), "summary",
                             cmd->summary, "usage", usage.data, "operands", operands,
                             "options", options_json(cmd->options));
    if (cmd->alias)
        json_object_set_new(item, "alias", json_string(cmd->alias));
    if (cmd->details)
        json_object_set_new(item, "details", json_string(cmd->details));
    rwf_str_free(&usage);
    return item;
}

json_t *cmd_json(const struct cmd *cmd)
{
    json_t *commands = json_array(), *exits = json_object();
    size_t count;
    const struct cmd_exit *rows = cmd_exits(&count);

    for (size_t i = 0; cmd_all[i]; i++)
        if (cmd ? cmd == cmd_all[i] : !(cmd_all[i]->flags & CMD_HIDDEN))
            json_array_append_new(commands, command_json(cmd_all[i]));
    for (size_t i = 0; i < count; i++) {
        char code[8];
        snprintf(code, sizeof(code), "%d", rows[i].code);
        json_object_set_new(exits, code, json_string(rows[i].help));
    }
    return json_pack("{s:o, s:o, s:o}", "commands", commands, "common_options",
                     options_json(cmd_common), "exit_codes", exits);
}

static void print_exit_table(FILE *out, bool color)
{
    size_t count;
    const struct cmd_exit *rows = cmd_exits(&count);

    fputs(
        "Exit codes are frozen. When several causes apply, the first of these wins:\n",
        out);
#define RWF_EXIT(name, code, help) fprintf(out, " %d", code);
#include "base/exit.def"
#undef RWF_EXIT
    fputs("\n\n", out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %s%3d%s  %s\n", view_on(color, VIEW_NAME), rows[i].code,
                view_off(color), rows[i].help);
}

static int help_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *topic = cmd_operand(call, 0, NULL);
    const struct cmd *cmd = topic ? cmd_find(topic) : NULL;
    bool exits = topic && strcmp(topic, "exit-codes") == 0;

    if (topic && !cmd && !exits) {
        struct rwf_suggest s;
        rwf_suggest_init(&s, topic);
        rwf_suggest_try(&s, "exit-codes");
        for (size_t i = 0; cmd_all[i]; i++)
            rwf_suggest_try(&s, cmd_all[i]->name);
        const char *best = rwf_suggest_best(&s);
        return rwf_fail(err, RWF_E_USAGE, "no help about \"%s\"%s%s%s", topic,
                        best ? ", did you mean " : "; see raywf --help",
                        best ? best : "", best ? "?" : "");
    }
    if (call->json)
        call->data = cmd_json(cmd);
    else if (exits)
        print_exit_table(stdout, call->color);
    else if (cmd)
        cmd_help_one(cmd, stdout, call->color);
    else
        cmd_help_all(stdout, call->color);
    return 0;
}

const struct cmd cmd_help = {
    .name = "help",
    .group = CMD_MORE,
    .summary = "explain a command, or exit-codes",
    .examples = "raywf help run\nraywf help exit-codes\nraywf help --format json",
    .exits = "0 2",
    .operands = {{"COMMAND", CMD_COMMAND, 0, 1}},
    .run = help_run,
};
