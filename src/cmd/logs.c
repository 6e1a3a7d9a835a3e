/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/redact.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "run/layout.h"
#include "view/style.h"

static const char *const streams[] = {"stdout", "stderr"};

/* One file of one attempt, and how far it was printed. */
struct source {
    char *path, *title, *address;
    const char *stream;
    int attempt;
    long offset;
};

struct reader {
    struct cmd_call *call;
    struct cmd_opened *o;
    const char *step;        /* full address, or NULL: all */
    bool wanted[2];          /* stdout, stderr */
    struct rwf_map *sources; /* by path */
    const char *current;     /* title printed last */
};

static void free_source(void *p)
{
    struct source *s = p;

    free(s->path);
    free(s->title);
    free(s->address);
    free(s);
}

static void add_source(struct reader *r, const struct run_step_state *step, int attempt,
                       const char *stream)
{
    char *dir = run_attempt_dir(step->address, attempt);
    char *path = rwf_xasprintf("%s/%s/%s", r->o->dir, dir, stream);

    free(dir);
    if (rwf_map_get(r->sources, path)) {
        free(path);
        return;
    }
    struct source *s = rwf_xcalloc(1, sizeof(*s));
    s->path = path;
    s->address = rwf_xstrdup(step->address);
    s->stream = stream;
    s->attempt = attempt;
    s->title = attempt > 1
                   ? rwf_xasprintf("%s (attempt %d) %s", step->address, attempt, stream)
                   : rwf_xasprintf("%s %s", step->address, stream);
    rwf_map_set(r->sources, path, s);
}

/* The last attempt of a step; all of them when the step is asked for by name. */
static void add_step(struct reader *r, const struct run_step_state *step)
{
    int first = r->step ? 1 : step->attempt;

    if (step->attempt < 1)
        return;
    for (int attempt = first; attempt <= step->attempt; attempt++)
        for (size_t i = 0; i < RWF_COUNT(streams); i++)
            if (r->wanted[i])
                add_source(r, step, attempt, streams[i]);
}

static void add_replica(struct reader *r, const struct run_step_state *step,
                        const char *folder, const char *file)
{
    char *path = rwf_fs_join(folder, file);

    if (rwf_map_get(r->sources, path)) {
        free(path);
        return;
    }
    struct source *s = rwf_xcalloc(1, sizeof(*s));
    s->path = path;
    s->address = rwf_xstrdup(step->address);
    s->stream = "replica";
    s->attempt = step->attempt;
    s->title = rwf_xasprintf("%s replica %.*s", step->address,
                             (int)(strlen(file) - strlen(".log")), file);
    rwf_map_set(r->sources, path, s);
}

/* What the programs behind an application printed, both streams in one file:
 * serve/log/APP.DEPLOYMENT.N.log. */
static void add_replicas(struct reader *r, const struct run_step_state *step)
{
    const char *app = strchr(step->address, '.') + 1;
    char *folder = rwf_fs_join(r->o->dir, "serve/log");
    size_t len = strlen(app);
    struct dirent **files;
    int n = scandir(folder, &files, NULL, versionsort);

    for (int i = 0; i < n; i++) {
        const char *name = files[i]->d_name, *end = strrchr(name, '.');
        if (strncmp(name, app, len) == 0 && name[len] == '.' && strcmp(end, ".log") == 0)
            add_replica(r, step, folder, name);
        free(files[i]);
    }
    if (n >= 0)
        free(files);
    free(folder);
}

static void find_sources(struct reader *r)
{
    for (size_t i = 0; i < run_state_step_count(r->o->state); i++) {
        const struct run_step_state *s = run_state_step_at(r->o->state, i);
        if (r->step && strcmp(r->step, s->address) != 0)
            continue;
        add_step(r, s);
        if (strncmp(s->address, "serve.", 6) == 0 && r->wanted[0] && r->wanted[1])
            add_replicas(r, s);
    }
}

/* Start of the last n lines. */
static long tail_offset(FILE *f, int64_t n)
{
    char buf[65536];
    int64_t lines = -1; /* the newline at the very end begins no line */

    fseek(f, 0, SEEK_END);
    long end = ftell(f), at = end;
    if (n == 0)
        return end;
    while (at > 0) {
        long from = at > (long)sizeof(buf) ? at - (long)sizeof(buf) : 0;
        fseek(f, from, SEEK_SET);
        size_t len = fread(buf, 1, (size_t)(at - from), f);
        for (size_t i = len; i-- > 0;) {
            if (buf[i] != '\n' && lines < 0)
                lines = 0; /* no newline at the end */
            if (buf[i] == '\n' && ++lines == n)
                return from + (long)i + 1;
        }
        at = from;
    }
    return 0;
}

static void print_title(struct reader *r, const struct source *s)
{
    bool several = rwf_map_count(r->sources) > 2 || !r->step;

    if (r->current == s->title || !several || r->call->quiet)
        return;
    printf("%s%s==> %s <==%s\n", r->current ? "\n" : "",
           view_on(r->call->color, VIEW_NAME), s->title, view_off(r->call->color));
    r->current = s->title;
}

/* Prints what is new in a file; with plain operands that is all of it. */
static void print_new(struct reader *r, struct source *s, int64_t tail)
{
    struct rwf_str clean = {0};
    char buf[65536];
    size_t len;
    FILE *f = fopen(s->path, "re");

    if (!f)
        return;
    if (s->offset == 0 && tail >= 0)
        s->offset = tail_offset(f, tail);
    fseek(f, s->offset, SEEK_SET);
    while ((len = fread(buf, 1, sizeof(buf), f)) > 0) {
        print_title(r, s);
        rwf_str_clear(&clean);
        rwf_redact(&clean, buf, len);
        fwrite(clean.data, 1, clean.len, stdout);
        s->offset += (long)len;
    }
    fclose(f);
    rwf_str_free(&clean);
}

static void print_all(struct reader *r, int64_t tail)
{
    find_sources(r);
    for (size_t i = 0; i < rwf_map_count(r->sources); i++)
        print_new(r, rwf_map_value_at(r->sources, i), tail);
    fflush(stdout);
}

static int follow(struct reader *r, struct rwf_err *err)
{
    while (strcmp(cmd_run_status(r->o), "running") == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 200 * RWF_NS_PER_MS}, NULL);
        if (ferror(stdout))
            return 0;
        if (cmd_reload_run(r->o, err) < 0)
            return -1;
        print_all(r, -1);
    }
    return 0;
}

static json_t *sources_json(struct reader *r, int64_t tail)
{
    json_t *out = json_array();

    find_sources(r);
    for (size_t i = 0; i < rwf_map_count(r->sources); i++) {
        const struct source *s = rwf_map_value_at(r->sources, i);
        bool cut;
        FILE *f = fopen(s->path, "re");
        long end = 0, from = 0;
        if (!f)
            continue;
        from = tail >= 0 ? tail_offset(f, tail) : 0;
        fseek(f, 0, SEEK_END);
        end = ftell(f);
        fclose(f);
        char *text =
            end > from ? view_tail(s->path, (size_t)(end - from) + 1, &cut) : NULL;
        size_t skip = text && strlen(text) > (size_t)(end - from)
                          ? strlen(text) - (size_t)(end - from)
                          : 0;
        json_array_append_new(out, json_pack("{s:s, s:i, s:s, s:s, s:s}", "step",
                                             s->address, "attempt", s->attempt,
                                             "stream", s->stream, "path", s->path,
                                             "text", text ? text + skip : ""));
        free(text);
    }
    return out;
}

static int show(struct reader *r, struct rwf_err *err)
{
    int64_t tail = cmd_count(r->call, "tail", -1);

    if (r->call->json) {
        r->call->data =
            json_pack("{s:s, s:o}", "run", r->o->id, "logs", sources_json(r, tail));
        return 0;
    }
    print_all(r, tail);
    if (cmd_given(r->call, "follow"))
        return follow(r, err);
    if (rwf_map_count(r->sources) == 0 && !r->call->quiet) {
        const struct run_step_state *s =
            r->step ? run_state_step(r->o->state, r->step) : NULL;
        fprintf(stderr, "%s has no output in run %s%s%s\n", r->step ? r->step : "it",
                r->o->id, s && s->origin ? ": its result was taken from " : "",
                s && s->origin ? s->origin : "");
    }
    return 0;
}

static int logs_run(struct cmd_call *call, struct rwf_err *err)
{
    bool out = cmd_given(call, "stdout"), errors = cmd_given(call, "stderr");
    const char *run, *name;
    struct cmd_opened o;

    if (call->json && cmd_given(call, "follow"))
        return cmd_refuse(call, "follow", "with --format json", err);
    cmd_run_and_step(call, &run, &name);
    int code = cmd_open_run(call, run, name != NULL, &o, err);
    if (code == 0) {
        const struct plan_step *step = name ? cmd_find_step(&o, name, err) : NULL;
        struct reader r = {.call = call,
                           .o = &o,
                           .step = step ? step->address : NULL,
                           .wanted = {out || !errors, errors || !out}};
        r.sources = rwf_map_create();
        code = name && !step ? -1 : show(&r, err);
        rwf_map_destroy(r.sources, free_source);
    }
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"follow", 'f', CMD_FLAG, NULL, false, NULL, "go on until the run ends"},
    {"stdout", 0, CMD_FLAG, NULL, false, "both", "standard output only"},
    {"stderr", 0, CMD_FLAG, NULL, false, "both", "standard error only"},
    {"tail", 'n', CMD_COUNT, "N", false, "all", "the last N lines of each file"},
    {0},
};

const struct cmd cmd_logs = {
    .name = "logs",
    .group = CMD_OBSERVE,
    .summary = "print the output of steps",
    .details =
        "Without STEP: the last attempt of every step. With it: all its attempts. Of what "
        "is served also what its programs print, replica by replica.",
    .examples =
        "raywf logs last tasks.train\nraywf logs -f\nraywf logs tasks.train -n 20",
    .exits = "0 2 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}, {"STEP", CMD_STEP, 0, 1}},
    .options = options,
    .run = logs_run,
};
