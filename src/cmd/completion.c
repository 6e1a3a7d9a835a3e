/* SPDX-License-Identifier: Apache-2.0
 *
 * Shell completion, from the same tables as the help. Only runs are looked up when a
 * key is pressed; all else is in the script.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cmd.h"

static void shown_commands(const char *between)
{
    bool first = true;

    for (size_t i = 0; cmd_all[i]; i++) {
        if (cmd_all[i]->flags & CMD_HIDDEN)
            continue;
        printf("%s%s", first ? "" : between, cmd_all[i]->name);
        first = false;
    }
}

static void choices(const char *metavar)
{
    for (; *metavar; metavar++)
        putchar(*metavar == '|' ? ' ' : *metavar);
}

/* "RUN|drain": a run, or one of these words. */
static void other_words(const char *metavar)
{
    const char *more = metavar ? strchr(metavar, '|') : NULL;
    if (more)
        choices(more + 1);
    if (more)
        putchar(' ');
}

/* Calls fn for the command's options and the common ones it does not redefine. */
static void each_option(const struct cmd *c, void (*fn)(const struct cmd_option *o))
{
    for (const struct cmd_option *o = c->options; o && o->name; o++)
        fn(o);
    for (const struct cmd_option *o = cmd_common; o->name; o++) {
        bool own = strcmp(o->name, "version") == 0 ||
                   (c->flags & CMD_BARE && strcmp(o->name, "format") == 0);
        for (const struct cmd_option *k = c->options; k && k->name; k++)
            own |= strcmp(k->name, o->name) == 0;
        if (!own)
            fn(o);
    }
}

/* --- bash --- */

static void bash_word(const struct cmd_option *o)
{
    printf(" --%s", o->name);
    if (o->letter)
        printf(" -%c", o->letter);
}

static void bash_reply(enum cmd_type type, const char *metavar)
{
    switch (type) {
    case CMD_FILE:
        fputs("_raywf_files -f", stdout);
        break;
    case CMD_DIR:
        fputs("_raywf_files -d", stdout);
        break;
    case CMD_CHOICE:
        fputs("_raywf_words \"", stdout);
        choices(metavar);
        putchar('"');
        break;
    case CMD_RUN:
        fputs("_raywf_words \"", stdout);
        other_words(metavar);
        fputs("last $(raywf ps -q 2>/dev/null)\"", stdout);
        break;
    case CMD_COMMAND:
        fputs("_raywf_words \"exit-codes ", stdout);
        shown_commands(" ");
        putchar('"');
        break;
    default:
        fputs("COMPREPLY=()", stdout);
    }
}

static void bash_value(const struct cmd_option *o)
{
    if (o->type == CMD_FLAG)
        return;
    printf("        ");
    if (o->letter)
        printf("-%c|", o->letter);
    printf("--%s) ", o->name);
    bash_reply(o->type, o->metavar);
    puts("; return ;;");
}

static void bash_command(const struct cmd *c)
{
    printf("    %s%s%s)\n", c->name, c->alias ? "|" : "", c->alias ? c->alias : "");
    puts("        case $prev in");
    each_option(c, bash_value);
    puts("        esac");
    fputs("        if [[ $cur == -* ]]; then _raywf_words \"", stdout);
    each_option(c, bash_word);
    putchar('"');
    if (c->operands[0].name && c->operands[0].type == CMD_CHOICE &&
        c->operands[1].name) { /* what its verbs take */
        fputs("\n        elif ((given > 0)); then ", stdout);
        bash_reply(c->operands[1].type, c->operands[1].name);
    }
    fputs("\n        else ", stdout);
    bash_reply(c->operands[0].name ? c->operands[0].type : CMD_TEXT,
               c->operands[0].name);
    puts("; fi ;;");
}

static void bash(void)
{
    puts("# bash completion for raywf; made by: raywf completion bash\n"
         "_raywf_words() { COMPREPLY=($(compgen -W \"$1\" -- \"$cur\")); }\n"
         "_raywf_files() { compopt -o filenames 2>/dev/null; "
         "mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$cur\"); }\n"
         "_raywf() {\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
         "word command= given=0\n"
         "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "        if [[ $word == -* ]]; then continue; fi\n"
         "        if [[ $command ]]; then ((given++)); else command=$word; fi\n"
         "    done\n"
         "    case $command in");
    fputs("    '') _raywf_words \"", stdout);
    shown_commands(" ");
    for (const struct cmd_option *o = cmd_common; o->name; o++)
        printf(" --%s", o->name);
    puts("\" ;;");
    for (size_t i = 0; cmd_all[i]; i++)
        if (!(cmd_all[i]->flags & CMD_HIDDEN))
            bash_command(cmd_all[i]);
    puts("    esac\n}\ncomplete -F _raywf raywf");
}

/* --- zsh --- */

/* Help text inside '…[…]': quotes, brackets and colons would end it. */
static void zsh_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:\\", *s))
            printf("\\%c", *s);
        else
            putchar(*s);
    }
}

static void zsh_action(enum cmd_type type, const char *metavar)
{
    switch (type) {
    case CMD_FILE:
        fputs("_files", stdout);
        break;
    case CMD_DIR:
        fputs("_files -/", stdout);
        break;
    case CMD_CHOICE:
        putchar('(');
        choices(metavar);
        putchar(')');
        break;
    case CMD_RUN:
        fputs("{_raywf_runs ", stdout);
        other_words(metavar);
        putchar('}');
        break;
    case CMD_COMMAND:
        fputs("(exit-codes ", stdout);
        shown_commands(" ");
        putchar(')');
        break;
    default:
        putchar(' ');
    }
}

static void zsh_one(const struct cmd_option *o, bool letter)
{
    printf(" \\\n            '%s", o->repeat ? "*" : "");
    if (letter)
        printf("-%c", o->letter);
    else
        printf("--%s", o->name);
    putchar('[');
    zsh_text(o->help);
    putchar(']');
    if (o->type != CMD_FLAG) {
        putchar(':');
        zsh_text(o->type == CMD_CHOICE ? o->name : o->metavar);
        putchar(':');
        zsh_action(o->type, o->metavar);
    }
    putchar('\'');
}

static void zsh_option(const struct cmd_option *o)
{
    zsh_one(o, false);
    if (o->letter)
        zsh_one(o, true);
}

static void zsh_command(const struct cmd *c)
{
    printf("        %s%s%s)\n        _arguments", c->name, c->alias ? "|" : "",
           c->alias ? c->alias : "");
    each_option(c, zsh_option);
    for (const struct cmd_operand *o = c->operands; o->name; o++) {
        printf(" \\\n            '%s:", o->max > 1 ? "*" : o->min ? "" : ":");
        zsh_text(o->type == CMD_CHOICE ? "what" : o->name);
        putchar(':');
        zsh_action(o->type, o->name);
        putchar('\'');
    }
    puts(" ;;");
}

static void zsh(void)
{
    puts("#compdef raywf\n# zsh completion for raywf; made by: raywf completion zsh\n"
         "_raywf_runs() { compadd \"$@\" last ${(f)\"$(raywf ps -q 2>/dev/null)\"} }\n"
         "_raywf() {\n"
         "    local -a commands=(");
    for (size_t i = 0; cmd_all[i]; i++) {
        if (cmd_all[i]->flags & CMD_HIDDEN)
            continue;
        printf("        '%s:", cmd_all[i]->name);
        zsh_text(cmd_all[i]->summary);
        puts("'");
    }
    puts("    )\n"
         "    if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
         "    local command=$words[2]\n"
         "    shift words; (( CURRENT-- ))\n"
         "    case $command in");
    for (size_t i = 0; cmd_all[i]; i++)
        if (!(cmd_all[i]->flags & CMD_HIDDEN))
            zsh_command(cmd_all[i]);
    puts("    esac\n}\n_raywf \"$@\"");
}

/* --- fish --- */

static const struct cmd *fish_current;

static void fish_text(const char *s)
{
    putchar('\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
    putchar('\'');
}

static void fish_values(enum cmd_type type, const char *metavar)
{
    switch (type) {
    case CMD_FILE:
        fputs(" -F", stdout);
        break;
    case CMD_DIR:
        fputs(" -a '(__fish_complete_directories)'", stdout);
        break;
    case CMD_CHOICE:
        fputs(" -a '", stdout);
        choices(metavar);
        putchar('\'');
        break;
    case CMD_RUN:
        fputs(" -a '", stdout);
        other_words(metavar);
        fputs("last (raywf ps -q 2>/dev/null)'", stdout);
        break;
    case CMD_COMMAND:
        fputs(" -a 'exit-codes ", stdout);
        shown_commands(" ");
        putchar('\'');
        break;
    default:
        break;
    }
}

static void fish_option(const struct cmd_option *o)
{
    printf("complete -c raywf -n '__fish_seen_subcommand_from %s' -l %s",
           fish_current->name, o->name);
    if (o->letter)
        printf(" -s %c", o->letter);
    if (o->type != CMD_FLAG) {
        fputs(" -x", stdout);
        fish_values(o->type, o->metavar);
    }
    fputs(" -d ", stdout);
    fish_text(o->help);
    putchar('\n');
}

static void fish(void)
{
    puts("# fish completion for raywf; made by: raywf completion fish\n"
         "complete -c raywf -f");
    for (size_t i = 0; cmd_all[i]; i++) {
        const struct cmd *c = cmd_all[i];
        if (c->flags & CMD_HIDDEN)
            continue;
        printf("complete -c raywf -n __fish_use_subcommand -a %s -d ", c->name);
        fish_text(c->summary);
        putchar('\n');
        if (c->operands[0].name && c->operands[0].type != CMD_TEXT) {
            printf("complete -c raywf -n '__fish_seen_subcommand_from %s'", c->name);
            fish_values(c->operands[0].type, c->operands[0].name);
            putchar('\n');
        }
        fish_current = c;
        each_option(c, fish_option);
    }
}

static int completion_run(struct cmd_call *call, struct rwf_err *err)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

    (void)err;
    for (size_t i = 0; i < RWF_COUNT(shells); i++)
        if (strcmp(shells[i].name, call->operands[0]) == 0)
            shells[i].print();
    return 0;
}

const struct cmd cmd_completion = {
    .name = "completion",
    .group = CMD_MORE,
    .flags = CMD_BARE,
    .summary = "print a completion script for a shell",
    .examples = "source <(raywf completion bash)\n"
                "raywf completion zsh > \"${fpath[1]}/_raywf\"\n"
                "raywf completion fish > ~/.config/fish/completions/raywf.fish",
    .exits = "0 2",
    .operands = {{"bash|zsh|fish", CMD_CHOICE, 1, 1}},
    .run = completion_run,
};
