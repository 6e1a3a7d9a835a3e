/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf(1) in roff, from the same tables as the help.
 */
#include "config.h"

#include <string.h>

#include "cmd/cmd.h"

/* Text as roff wants it: no line may start with a dot or a quote, and "-" is a minus.
 */
static void text(const char *s)
{
    if (*s == '.' || *s == '\'')
        fputs("\\&", stdout);
    for (; *s; s++) {
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else
            putchar(*s);
        if (*s == '\n' && (s[1] == '.' || s[1] == '\''))
            fputs("\\&", stdout);
    }
}

static void paragraph(const char *s)
{
    puts(".PP");
    text(s);
    putchar('\n');
}

static void option(const struct cmd_option *o)
{
    struct rwf_str label = {0};

    cmd_option_label(o, &label);
    fputs(".TP\n\\fB", stdout);
    text(label.data);
    fputs("\\fR\n", stdout);
    text(o->help);
    if (o->repeat && o->type != CMD_FLAG)
        fputs("; may be given several times", stdout);
    if (o->fallback) {
        fputs(" (default: ", stdout);
        text(o->fallback);
        putchar(')');
    }
    puts(".");
    rwf_str_free(&label);
}

static void command(const struct cmd *c)
{
    struct rwf_str usage = {0};

    cmd_usage(c, &usage);
    fputs(".SS ", stdout);
    text(usage.data);
    putchar('\n');
    text(c->summary);
    puts(".");
    if (c->alias)
        printf("Also: \\fBraywf %s\\fR.\n", c->alias);
    if (c->details)
        paragraph(c->details);
    for (const struct cmd_option *o = c->options; o && o->name; o++)
        option(o);
    if (c->examples) {
        puts(".PP\n.nf\n.RS");
        text(c->examples);
        puts("\n.RE\n.fi");
    }
    rwf_str_free(&usage);
}

static void head(void)
{
    printf(".TH RAYWF 1 \"\" \"%s\" \"User Commands\"\n", PACKAGE_STRING);
    puts(".SH NAME\nraywf \\- run AI workflows from one checked recipe");
    puts(".SH SYNOPSIS\n.B raywf\n\\fICOMMAND\\fR [\\fIOPTION\\fR...] "
         "[\\fIOPERAND\\fR...]");
    puts(".SH DESCRIPTION");
    text("raywf reads one YAML recipe, checks all of it, compiles it into a graph of "
         "steps, and runs that graph. A run is its event log beneath .raywf; a step "
         "whose "
         "command, inputs and code did not change is taken from the cache. A run that "
         "was "
         "killed goes on with raywf resume.\n");
}

static void tail(void)
{
    size_t count;
    const struct cmd_exit *rows = cmd_exits(&count);

    puts(".SH EXIT STATUS");
    for (size_t i = 0; i < count; i++)
        printf(".TP\n.B %d\n%s.\n", rows[i].code, rows[i].help);
    puts(".SH ENVIRONMENT");
    puts(
        ".TP\n.B RAYWF_DIR\nFolder of runs and cache; default: .raywf in the folder of "
        "the recipe.");
    puts(".TP\n.B RAYWF_CLUSTER\nFolder of the head and the nodes that raywf start "
         "starts; default: ~/.local/state/raywf.");
    puts(".TP\n.B RAYWF_PEER_SPIN\nHow long a thread that carries calls between nodes "
         "looks for more before it sleeps: 40us, say; 0s: not at all.");
    puts(".TP\n.B RAYWF_LOG\nMessages of raywf itself: error, warn, info or debug.");
    puts(".TP\n.B NO_COLOR\nNo colours when set.");
    puts(".TP\n.B RAYWF_REPORT\nSet for tasks: the file descriptor that takes metrics, "
         "one "
         "JSON object a line.");
    puts(".TP\n.B RAYWF_INCLUDE\nSet for tasks: the folder of raywf.h, to build plugins.");
    puts(".TP\n.B RAYWF_ADDRESS\nThe socket of a node, for programs that use raywf.h "
         "(default: a runtime of their own) and for nodes, actors, objects and ps. Set "
         "for the tasks of a run that has native tasks or actors.");
    puts(".SH FILES");
    puts(
        ".TP\n.I .raywf/runs/ID/events.ndjson\nThe event log of a run: the truth about "
        "it.");
    puts(".TP\n.I .raywf/cache\nResults of steps by key, contents by digest.");
}

static int man_run(struct cmd_call *call, struct rwf_err *err)
{
    (void)call;
    (void)err;
    head();
    puts(".SH COMMANDS");
    for (size_t i = 0; cmd_all[i]; i++)
        if (!(cmd_all[i]->flags & CMD_HIDDEN))
            command(cmd_all[i]);
    puts(".SH COMMON OPTIONS");
    for (const struct cmd_option *o = cmd_common; o->name; o++)
        option(o);
    tail();
    return 0;
}

const struct cmd cmd_man = {
    .name = "man",
    .group = CMD_MORE,
    .flags = CMD_BARE,
    .summary = "print the manual page",
    .examples = "raywf man | man -l -",
    .exits = "0",
    .run = man_run,
};
