/* SPDX-License-Identifier: Apache-2.0
 *
 * The frame of the command line. A command is one file with one row: its operands and
 * options are tables, from which parsing, help, completion and the manual page all
 * come.
 *
 * A command prints its product on stdout, or puts it into call->data for --format json.
 * It returns an exit code, or -1 with *err; only main prints errors.
 */
#ifndef RWF_CMD_CMD_H
#define RWF_CMD_CMD_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/err.h"
#include "base/str.h"

/* What a value is: how it is checked, and how the shell completes it. */
enum cmd_type {
    CMD_FLAG, /* no value */
    CMD_TEXT,
    CMD_FILE,
    CMD_DIR,
    CMD_CHOICE,   /* metavar lists them: "text|json" */
    CMD_COUNT,    /* a whole number from 0 */
    CMD_DURATION, /* 10s, 1h30m */
    CMD_SETTING,  /* NAME=VALUE */
    CMD_RUN,      /* last, a run id, or a unique piece of one */
    CMD_STEP,     /* an address: tasks.train */
    CMD_COMMAND,  /* name of a command */
};

struct cmd_option {
    const char *name;
    char letter; /* -o, or 0 */
    enum cmd_type type;
    const char *metavar; /* of the value, for the help */
    bool repeat;
    const char *fallback; /* what holds without it, for the help; or NULL */
    const char *help;
};

struct cmd_operand {
    const char *name; /* "FILE"; choices: "ls|gc"; NULL ends the list */
    enum cmd_type type;
    int min, max;
};
#define CMD_MANY 1000000
#define CMD_OPERANDS 3

enum cmd_group {
    CMD_WRITE,
    CMD_EXECUTE,
    CMD_OBSERVE,
    CMD_KEEP,
    CMD_MORE,
    CMD_GROUP_COUNT
};

enum {
    CMD_HIDDEN = 1, /* not in the help */
    CMD_BARE = 2,   /* takes no --format: its product has a format of its own */
};

struct cmd_call;

struct cmd {
    const char *name;
    const char *alias; /* or NULL */
    enum cmd_group group;
    unsigned flags;
    const char *summary;
    const char *details;  /* further lines for its help, or NULL */
    const char *examples; /* lines, or NULL */
    const char *exits;    /* exit codes it can end with, "0 2 3" */
    struct cmd_operand operands[CMD_OPERANDS + 1];
    const struct cmd_option *options; /* ends with a NULL name; or NULL */
    int (*run)(struct cmd_call *call, struct rwf_err *err);
};

/* One invocation. */
struct cmd_call {
    const struct cmd *cmd; /* NULL when none was given */
    const char **operands;
    size_t operand_count;
    struct cmd_value *values; /* options given, in order */
    size_t value_count, value_cap;
    const char *format; /* "text" unless given */
    bool json;          /* format is "json": main prints the envelope */
    bool color, color_err;
    bool quiet;
    int verbose;
    json_t *data;           /* the product for the envelope */
    json_t *diagnostics;    /* array */
    struct rwf_err *errors; /* kept for main to print */
    size_t error_count, error_cap;
};

/* --- table.c --- */
extern const struct cmd
    *const cmd_all[]; /* in the order of the help; NULL-terminated */
extern const struct cmd_option cmd_common[];
const struct cmd *cmd_find(const char *name);
const char *cmd_group_title(enum cmd_group group);
/* The rows of exit.def and 0, sorted by code. */
struct cmd_exit {
    int code;
    const char *help;
};
const struct cmd_exit *cmd_exits(size_t *ret_count);

/* --- args.c --- */
/* Parses argv against the tables; RWF_E_USAGE names the word and what was meant. On
 * failure call->cmd, format and color are set as far as they were understood. */
int cmd_parse(struct cmd_call *call, int argc, char **argv, struct rwf_err *err);
void cmd_call_free(struct cmd_call *call);
/* Values of the command's own or a common option. Asking for one that its table lacks
 * is a bug. */
bool cmd_given(const struct cmd_call *call, const char *name);
const char *cmd_text(const struct cmd_call *call, const char *name,
                     const char *fallback);
int64_t cmd_count(const struct cmd_call *call, const char *name, int64_t fallback);
int64_t cmd_duration(const struct cmd_call *call, const char *name, int64_t fallback);
/* All values of a repeatable option; the array is the caller's to free, NULL for none.
 */
const char **cmd_list(const struct cmd_call *call, const char *name, size_t *ret_count);
const char *cmd_operand(const struct cmd_call *call, size_t i, const char *fallback);
/* As if the option had been given, with this text (NULL of a flag), which lives as long as
 * the call. */
void cmd_give(struct cmd_call *call, const char *name, const char *text);
/* RWF_E_USAGE when the option was given: "--x has no effect WHY". */
int cmd_refuse(const struct cmd_call *call, const char *name, const char *why,
               struct rwf_err *err);

/* --- help.c --- */
void cmd_help_all(FILE *out, bool color);
void cmd_help_one(const struct cmd *cmd, FILE *out, bool color);
void cmd_usage(const struct cmd *cmd, struct rwf_str *out);
/* "-o, --output FILE" */
void cmd_option_label(const struct cmd_option *o, struct rwf_str *out);
/* Text in lines of at most width columns, each after the first indented. */
void cmd_wrap(FILE *out, const char *text, int indent, int width);
json_t *cmd_json(const struct cmd *cmd);

/* --- output.c --- */
/* An error that does not end the command: main prints it. Returns its exit code. */
int cmd_keep_error(struct cmd_call *call, const struct rwf_err *err);
/* Text from outside, such as a path, as a JSON string: bytes that are no UTF-8 become
 * "?". */
json_t *cmd_string(const char *text);
/* Takes item. */
void cmd_diagnose(struct cmd_call *call, json_t *item);
/* Writes text to path ("-": stdout). */
int cmd_write(const char *path, const char *text, size_t len, struct rwf_err *err);
/* Flushes stdout; -1 when what was printed could not be written. A reader that went
 * away is no error. */
int cmd_flush(struct rwf_err *err);
void cmd_envelope(const struct cmd_call *call, int exit_code);

#endif
