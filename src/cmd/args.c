/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/suggest.h"
#include "base/units.h"

struct cmd_value {
    const struct cmd_option *option;
    const char *text;
};

/* Where the parser stands in argv. */
struct cursor {
    int argc, next;
    char **argv;
    bool ended; /* "--" was seen */
};

static const struct cmd_option *find_in(const struct cmd_option *table,
                                        const char *name, size_t len, char letter)
{
    for (; table && table->name; table++)
        if (name ? strlen(table->name) == len && strncmp(table->name, name, len) == 0
                 : table->letter == letter)
            return table;
    return NULL;
}

/* The command's own row wins over the common one of the same name. */
static const struct cmd_option *find_option(const struct cmd_call *call,
                                            const char *name, size_t len, char letter)
{
    const struct cmd_option *found = NULL;

    if (call->cmd)
        found = find_in(call->cmd->options, name, len, letter);
    return found ? found : find_in(cmd_common, name, len, letter);
}

static const char *suggest_option(const struct cmd_call *call, const char *name)
{
    const struct cmd_option *tables[] = {call->cmd ? call->cmd->options : NULL,
                                         cmd_common};
    struct rwf_suggest s;

    rwf_suggest_init(&s, name);
    for (size_t t = 0; t < RWF_COUNT(tables); t++)
        for (const struct cmd_option *o = tables[t]; o && o->name; o++)
            rwf_suggest_try(&s, o->name);
    return rwf_suggest_best(&s);
}

static int unknown_option(const struct cmd_call *call, const char *word, size_t len,
                          struct rwf_err *err)
{
    char *name = rwf_xstrndup(word, len);
    const char *best = len > 1 ? suggest_option(call, name) : NULL;
    const char *dashes = len > 1 ? "--" : "-";

    if (best)
        rwf_fail(err, RWF_E_USAGE, "unknown option %s%s, did you mean --%s?", dashes,
                 name, best);
    else
        rwf_fail(err, RWF_E_USAGE, "unknown option %s%s; see raywf %s%s--help", dashes,
                 name, call->cmd ? call->cmd->name : "", call->cmd ? " " : "");
    free(name);
    return -1;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);

    for (const char *at = choices; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (len && strncmp(at, text, len) == 0 && (at[len] == '|' || at[len] == '\0'))
            return true;
    }
    return false;
}

static int bad_choice(const char *what, const char *choices, const char *text,
                      struct rwf_err *err)
{
    char *list = rwf_xstrdup(choices), *save = NULL;
    struct rwf_suggest s;

    rwf_suggest_init(&s, text);
    for (char *one = strtok_r(list, "|", &save); one; one = strtok_r(NULL, "|", &save))
        rwf_suggest_try(&s, one);
    const char *best = rwf_suggest_best(&s);
    rwf_fail(err, RWF_E_USAGE, "%s must be one of %s, not \"%s\"%s%s%s", what, choices,
             text, best ? "; did you mean " : "", best ? best : "", best ? "?" : "");
    free(list);
    return -1;
}

static int check_count(const char *what, const char *text, struct rwf_err *err)
{
    char *end;

    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || n < 0)
        return rwf_fail(err, RWF_E_USAGE, "%s takes a whole number from 0, not \"%s\"",
                        what, text);
    return 0;
}

static int check_setting(const char *what, const char *text, struct rwf_err *err)
{
    const char *equals = strchr(text, '=');

    if (!equals || equals == text)
        return rwf_fail(err, RWF_E_USAGE, "%s takes NAME=VALUE, not \"%s\"", what,
                        text);
    return 0;
}

static int check_value(const char *what, enum cmd_type type, const char *metavar,
                       const char *text, struct rwf_err *err)
{
    int64_t ns;

    switch (type) {
    case CMD_CHOICE:
        return is_choice(metavar, text) ? 0 : bad_choice(what, metavar, text, err);
    case CMD_COUNT:
        return check_count(what, text, err);
    case CMD_SETTING:
        return check_setting(what, text, err);
    case CMD_DURATION:
        if (rwf_duration_parse(text, &ns, err) == 0)
            return 0;
        rwf_wrap(err, "%s", what);
        if (err)
            err->code = RWF_E_USAGE;
        return -1;
    case CMD_FILE:
    case CMD_DIR:
    case CMD_RUN:
    case CMD_STEP:
        return *text ? 0 : rwf_fail(err, RWF_E_USAGE, "%s is empty", what);
    default:
        return 0;
    }
}

static int add_value(struct cmd_call *call, const struct cmd_option *o,
                     const char *text, struct rwf_err *err)
{
    char what[64];

    snprintf(what, sizeof(what), "--%s", o->name);
    if (o->type != CMD_FLAG) {
        if (!o->repeat && cmd_given(call, o->name))
            return rwf_fail(err, RWF_E_USAGE, "%s is given twice; it takes one value",
                            what);
        if (check_value(what, o->type, o->metavar, text, err) < 0)
            return -1;
    }
    *RWF_PUSH(call->values, call->value_count, call->value_cap) =
        (struct cmd_value){o, text};
    return 0;
}

/* --name, --name=value, --name value */
static int parse_long(struct cmd_call *call, struct cursor *at, const char *word,
                      struct rwf_err *err)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    const struct cmd_option *o = find_option(call, word, len, 0);

    if (!o)
        return unknown_option(call, word, len, err);
    if (o->type == CMD_FLAG) {
        if (equals)
            return rwf_fail(err, RWF_E_USAGE, "--%s takes no value", o->name);
        return add_value(call, o, NULL, err);
    }
    if (equals)
        return add_value(call, o, equals + 1, err);
    if (at->next >= at->argc)
        return rwf_fail(err, RWF_E_USAGE, "--%s needs a value: --%s %s", o->name,
                        o->name, o->metavar);
    return add_value(call, o, at->argv[at->next++], err);
}

/* -qv, -oFILE, -o FILE */
static int parse_short(struct cmd_call *call, struct cursor *at, const char *word,
                       struct rwf_err *err)
{
    for (; *word; word++) {
        const struct cmd_option *o = find_option(call, NULL, 0, *word);

        if (!o)
            return unknown_option(call, word, 1, err);
        if (o->type == CMD_FLAG) {
            if (add_value(call, o, NULL, err) < 0)
                return -1;
            continue;
        }
        if (word[1])
            return add_value(call, o, word + 1, err);
        if (at->next >= at->argc)
            return rwf_fail(err, RWF_E_USAGE, "-%c needs a value: -%c %s", o->letter,
                            o->letter, o->metavar);
        return add_value(call, o, at->argv[at->next++], err);
    }
    return 0;
}

static int unknown_command(const char *name, struct rwf_err *err)
{
    struct rwf_suggest s;

    rwf_suggest_init(&s, name);
    for (size_t i = 0; cmd_all[i]; i++) {
        if (cmd_all[i]->flags & CMD_HIDDEN)
            continue;
        rwf_suggest_try(&s, cmd_all[i]->name);
        if (cmd_all[i]->alias)
            rwf_suggest_try(&s, cmd_all[i]->alias);
    }
    const char *best = rwf_suggest_best(&s);
    size_t len = strlen(name);
    if (!best && len > 5 &&
        (strcmp(name + len - 5, ".yaml") == 0 || strcmp(name + len - 4, ".yml") == 0))
        return rwf_fail(err, RWF_E_USAGE,
                        "\"%s\" is no command; to run it: raywf run %s", name, name);
    return rwf_fail(err, RWF_E_USAGE, "unknown command \"%s\"%s%s%s", name,
                    best ? ", did you mean " : "; see raywf --help", best ? best : "",
                    best ? "?" : "");
}

/* -tp, as vLLM has it: a name of two letters that is the command's own. */
static bool is_short_long(const struct cmd_call *call, const char *word)
{
    return call->cmd && word[0] == '-' && (word[1] && word[2] && (!word[3] || word[3] == '=')) &&
           find_in(call->cmd->options, word + 1, 2, 0) != NULL;
}

static int parse_word(struct cmd_call *call, struct cursor *at, char *word,
                      struct rwf_err *err)
{
    if (!at->ended && strcmp(word, "--") == 0) {
        at->ended = true;
        return 0;
    }
    if (!at->ended && word[0] == '-' && word[1] == '-')
        return parse_long(call, at, word + 2, err);
    if (!at->ended && is_short_long(call, word))
        return parse_long(call, at, word + 1, err);
    if (!at->ended && word[0] == '-' && word[1])
        return parse_short(call, at, word + 1, err);
    if (call->cmd) {
        call->operands[call->operand_count++] = word;
        return 0;
    }
    call->cmd = cmd_find(word);
    return call->cmd ? 0 : unknown_command(word, err);
}

/* Operands are dealt out in order; the last kind takes what is left. */
static int check_operands(const struct cmd_call *call, struct rwf_err *err)
{
    const struct cmd_operand *kinds = call->cmd->operands;
    size_t used = 0, need = 0;

    for (size_t k = 0; kinds[k].name; k++)
        need += (size_t)kinds[k].min;
    if (call->operand_count < need) {
        size_t k = 0;
        while (kinds[k + 1].name && kinds[k].min == 0)
            k++;
        struct rwf_str usage = {0};
        cmd_usage(call->cmd, &usage);
        rwf_fail(err, RWF_E_USAGE, "%s is missing; usage: %s", kinds[k].name,
                 usage.data);
        rwf_str_free(&usage);
        return -1;
    }
    for (size_t k = 0; kinds[k].name; k++)
        for (int i = 0; i < kinds[k].max && used < call->operand_count; i++, used++)
            if (check_value(kinds[k].type == CMD_CHOICE ? "the operand" : kinds[k].name,
                            kinds[k].type, kinds[k].name, call->operands[used],
                            err) < 0)
                return -1;
    if (used < call->operand_count)
        return rwf_fail(err, RWF_E_USAGE, "\"%s\" is too much; see raywf %s --help",
                        call->operands[used], call->cmd->name);
    return 0;
}

static bool wants_color(const char *choice, int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (strcmp(choice, "auto") != 0)
        return strcmp(choice, "always") == 0;
    if (no && *no)
        return false;
    return isatty(fd) && !(term && strcmp(term, "dumb") == 0);
}

static void apply_common(struct cmd_call *call)
{
    const char *choice = cmd_text(call, "color", "auto");

    call->format = cmd_text(call, "format", "text");
    call->json = strcmp(call->format, "json") == 0 &&
                 !(call->cmd && call->cmd->flags & CMD_BARE);
    call->color = wants_color(choice, STDOUT_FILENO);
    call->color_err = wants_color(choice, STDERR_FILENO);
    call->quiet = cmd_given(call, "quiet");
    for (size_t i = 0; i < call->value_count; i++)
        call->verbose += strcmp(call->values[i].option->name, "verbose") == 0;
}

int cmd_parse(struct cmd_call *call, int argc, char **argv, struct rwf_err *err)
{
    struct cursor at = {.argc = argc, .next = 1, .argv = argv};
    int status = 0;

    call->operands = rwf_xcalloc((size_t)argc + 1, sizeof(*call->operands));
    while (status == 0 && at.next < argc)
        status = parse_word(call, &at, argv[at.next++], err);
    apply_common(call);
    if (status < 0) {
        /* A caller that asked for JSON gets JSON, also about a later word. */
        for (int i = at.next; i < argc && !call->json; i++)
            call->json =
                strcmp(argv[i], "--format=json") == 0 ||
                (strcmp(argv[i], "json") == 0 && strcmp(argv[i - 1], "--format") == 0);
        return -1;
    }
    if (!call->cmd || cmd_given(call, "help"))
        return 0;
    if (check_operands(call, err) < 0)
        return -1;
    if (call->cmd->flags & CMD_BARE)
        return cmd_refuse(call, "format", "here: the output has a format of its own",
                          err);
    if (call->quiet && call->verbose)
        return rwf_fail(err, RWF_E_USAGE,
                        "--quiet and --verbose contradict each other");
    return 0;
}

void cmd_call_free(struct cmd_call *call)
{
    free(call->operands);
    free(call->values);
    free(call->errors);
    json_decref(call->data);
    json_decref(call->diagnostics);
}

static const struct cmd_value *last_value(const struct cmd_call *call, const char *name)
{
    for (size_t i = call->value_count; i-- > 0;)
        if (strcmp(call->values[i].option->name, name) == 0)
            return &call->values[i];
    rwf_assert(find_option(call, name, strlen(name), 0) != NULL);
    return NULL;
}

bool cmd_given(const struct cmd_call *call, const char *name)
{
    return last_value(call, name) != NULL;
}

const char *cmd_text(const struct cmd_call *call, const char *name,
                     const char *fallback)
{
    const struct cmd_value *v = last_value(call, name);

    return v ? v->text : fallback;
}

int64_t cmd_count(const struct cmd_call *call, const char *name, int64_t fallback)
{
    const struct cmd_value *v = last_value(call, name);

    return v ? strtoll(v->text, NULL, 10) : fallback;
}

int64_t cmd_duration(const struct cmd_call *call, const char *name, int64_t fallback)
{
    const struct cmd_value *v = last_value(call, name);
    int64_t ns = fallback;

    if (v)
        rwf_duration_parse(v->text, &ns, NULL);
    return ns;
}

const char **cmd_list(const struct cmd_call *call, const char *name, size_t *ret_count)
{
    const char **list = NULL;
    size_t count = 0, cap = 0;

    rwf_assert(find_option(call, name, strlen(name), 0) != NULL);
    for (size_t i = 0; i < call->value_count; i++)
        if (strcmp(call->values[i].option->name, name) == 0)
            *RWF_PUSH(list, count, cap) = call->values[i].text;
    *ret_count = count;
    return list;
}

const char *cmd_operand(const struct cmd_call *call, size_t i, const char *fallback)
{
    return i < call->operand_count ? call->operands[i] : fallback;
}

void cmd_give(struct cmd_call *call, const char *name, const char *text)
{
    const struct cmd_option *o = find_option(call, name, strlen(name), 0);

    rwf_assert(o != NULL);
    *RWF_PUSH(call->values, call->value_count, call->value_cap) =
        (struct cmd_value){o, text};
}

int cmd_refuse(const struct cmd_call *call, const char *name, const char *why,
               struct rwf_err *err)
{
    if (!cmd_given(call, name))
        return 0;
    return rwf_fail(err, RWF_E_USAGE, "--%s has no effect %s", name, why);
}
