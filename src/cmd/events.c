/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/redact.h"
#include "base/suggest.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "run/log.h"

struct printer {
    const struct cmd_call *call;
    const char **types;
    size_t type_count;
    json_t *list; /* for the envelope, or NULL */
};

static bool is_wanted(const struct printer *p, const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));

    for (size_t i = 0; i < p->type_count; i++) {
        size_t len = strlen(p->types[i]);
        /* "step" means all step.… events */
        if (type && strncmp(type, p->types[i], len) == 0 &&
            (type[len] == '\0' || type[len] == '.'))
            return true;
    }
    return p->type_count == 0;
}

static int print_event(void *ctx, const json_t *event)
{
    struct printer *p = ctx;
    struct rwf_str clean = {0};

    if (!is_wanted(p, event))
        return 0;
    if (p->list)
        return json_array_append(p->list, (json_t *)event);
    char *text = json_dumps(event, JSON_COMPACT);
    rwf_redact(&clean, text, strlen(text));
    puts(clean.data);
    rwf_str_free(&clean);
    free(text);
    return ferror(stdout);
}

static bool known_type(const char *name)
{
    size_t len = strlen(name);

    for (int e = 0; e < RUN_EVENT_COUNT; e++) {
        const char *type = run_event_name(e);
        if (strncmp(type, name, len) == 0 && (type[len] == '\0' || type[len] == '.'))
            return true;
    }
    return false;
}

static int check_types(const struct printer *p, struct rwf_err *err)
{
    for (size_t i = 0; i < p->type_count; i++) {
        struct rwf_suggest s;
        if (known_type(p->types[i]))
            continue;
        rwf_suggest_init(&s, p->types[i]);
        for (int e = 0; e < RUN_EVENT_COUNT; e++)
            rwf_suggest_try(&s, run_event_name(e));
        const char *best = rwf_suggest_best(&s);
        return rwf_fail(err, RWF_E_USAGE, "no event type \"%s\"%s%s%s", p->types[i],
                        best ? ", did you mean " : "; raywf events --types lists them",
                        best ? best : "", best ? "?" : "");
    }
    return 0;
}

static void list_types(struct cmd_call *call)
{
    json_t *out = json_array();

    for (int e = 0; e < RUN_EVENT_COUNT; e++) {
        json_array_append_new(
            out, json_pack("{s:s, s:s, s:s}", "type", run_event_name(e), "fields",
                           run_event_fields(e), "help", run_event_help(e)));
        if (!call->json)
            printf("%-15s %s\n%16s%s\n", run_event_name(e), run_event_fields(e), "",
                   run_event_help(e));
    }
    call->data = json_pack("{s:o}", "types", out);
}

static int print_log(struct printer *p, struct cmd_opened *o, struct rwf_err *err)
{
    bool follow = cmd_given(p->call, "follow");
    int64_t offset = 0;

    for (;;) {
        /* Asked before reading, so that nothing written before the end is missed. */
        bool active = strcmp(cmd_run_status(o), "running") == 0;
        if (run_log_read(o->log, offset, print_event, p, &offset, err) < 0)
            return -1;
        if (!follow || !active)
            return 0;
        if (fflush(stdout) != 0)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = 100 * RWF_NS_PER_MS}, NULL);
        if (cmd_reload_run(o, err) < 0)
            return -1;
    }
}

static int events_run(struct cmd_call *call, struct rwf_err *err)
{
    struct printer p = {.call = call};
    struct cmd_opened o = {0};
    int code = -1;

    if (cmd_given(call, "types")) {
        if (cmd_refuse(call, "follow", "with --types", err) == 0 &&
            cmd_refuse(call, "type", "with --types", err) == 0)
            code = 0;
        if (code == 0)
            list_types(call);
        return code;
    }
    if (call->json && cmd_given(call, "follow"))
        return cmd_refuse(call, "follow", "with --format json", err);
    p.types = cmd_list(call, "type", &p.type_count);
    if (check_types(&p, err) == 0)
        code = cmd_open_run(call, cmd_operand(call, 0, "last"), false, &o, err);
    if (code == 0) {
        p.list = call->json ? json_array() : NULL;
        code = print_log(&p, &o, err);
        if (call->json)
            call->data = json_pack("{s:s, s:o}", "run", o.id, "events", p.list);
    }
    free(p.types);
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"follow", 'f', CMD_FLAG, NULL, false, NULL, "go on until the run ends"},
    {"type", 't', CMD_TEXT, "TYPE", true, NULL,
     "only this type, such as step.failed; step means all of step.*"},
    {"types", 0, CMD_FLAG, NULL, false, NULL, "explain the types and their fields"},
    {0},
};

const struct cmd cmd_events = {
    .name = "events",
    .group = CMD_OBSERVE,
    .summary = "print the event log of a run, one JSON object a line",
    .examples = "raywf events -f\nraywf events last --type step.failed",
    .exits = "0 2 6 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = options,
    .run = events_run,
};
