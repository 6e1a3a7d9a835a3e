/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/job.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cmd/alive.h"
#include "cmd/compile.h"
#include "cmd/head_find.h"

#define LOG_WAIT_MS 10000
#define STOP_PAUSE_MS 200

struct job_client *cmd_job_connect(const struct cmd_call *call, struct rwf_err *err)
{
    struct cluster_at at;
    if (cmd_head_find(call, &at, err))
        return NULL;
    struct job_client *c = job_client_open(at.host, at.port, at.key);
    cluster_at_close(&at);
    return c;
}

/* --- logs --- */

int cmd_job_exit(const json_t *end)
{
    const char *state = json_string_value(json_object_get(end, "state"));
    int code = (int)json_integer_value(json_object_get(end, "exit_code"));
    if (state && strcmp(state, "stopped") == 0)
        return rwf_exit_code(&(struct rwf_err){.code = RWF_E_STOPPED});
    return code >= 0 ? code : 1;
}

/* The first one is answered at once: then the head is known, and waited for. */
static json_t *log_question(const struct cmd_job_follow *f, int64_t offset, bool first)
{
    json_t *args =
        json_pack("{s:s, s:I, s:i}", "job", f->job, "offset", (json_int_t)offset,
                  "wait", f->follow && !first ? LOG_WAIT_MS : 0);
    if (first && f->tail >= 0)
        json_object_set_new(args, "tail", json_integer(f->tail));
    return args;
}

int cmd_job_logs(struct job_client *c, const struct cmd_job_follow *f, json_t **ret_end,
                 struct rwf_err *err)
{
    int64_t offset = 0;
    for (bool first = true;; first = false) {
        struct job_answer a;
        if (job_client_call(c, "logs", log_question(f, offset, first), &a, err))
            return -1;
        int64_t from = json_integer_value(json_object_get(a.json, "offset"));
        bool ended = json_is_true(json_object_get(a.json, "ended"));
        if (from > offset && !(first && f->tail >= 0) && !f->silent)
            fprintf(stderr, "(%lld bytes are gone: the log keeps its end)\n",
                    (long long)(from - offset));
        if (f->into) {
            rwf_str_addn(f->into, (const char *)a.data, a.len);
        } else if (a.len && !f->silent) {
            fwrite(a.data, 1, a.len, stdout);
            fflush(stdout);
        }
        offset = json_integer_value(json_object_get(a.json, "next"));
        bool last = ended || (!f->follow && a.len == 0);
        if (last)
            *ret_end = json_incref(a.json);
        job_answer_clear(&a);
        if (last)
            return 0;
    }
}

/* A program writes any bytes: JSON has text. */
static json_t *logs_json(const char *job, const json_t *end, struct rwf_str *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] == '\0')
            text->data[i] = '?';
    return json_pack("{s:s, s:O, s:O, s:o}", "job", job, "state",
                     json_object_get(end, "state"), "ended", json_object_get(end, "ended"),
                     "text", cmd_string(text->len ? text->data : ""));
}

static int do_logs(struct cmd_call *call, struct job_client *c, const char *job,
                   struct rwf_err *err)
{
    struct rwf_str text = {0};
    const struct cmd_job_follow f = {.job = job,
                                     .tail = cmd_count(call, "tail", -1),
                                     .follow = cmd_given(call, "follow"),
                                     .into = call->json ? &text : NULL};
    json_t *end = NULL;
    if (call->json && f.follow)
        return cmd_refuse(call, "follow", "with --format json", err);
    int rc = cmd_job_logs(c, &f, &end, err);
    if (call->json && rc == 0)
        call->data = logs_json(job, end, &text);
    rwf_str_free(&text);
    json_decref(end);
    return rc;
}

/* --- list, status --- */

static const struct cmd_column columns[] = {
    {"job", "JOB", CELL_TEXT},           {"name", "NAME", CELL_TEXT},
    {"state", "STATE", CELL_TEXT},       {"priority", "PRIORITY", CELL_NUMBER},
    {"attempt", "ATTEMPT", CELL_NUMBER}, {"created", "CREATED", CELL_TEXT},
    {"cause", "CAUSE", CELL_TEXT},       {0},
};

static int do_list(struct cmd_call *call, struct job_client *c, const char *job,
                   struct rwf_err *err)
{
    struct job_answer a;
    (void)job;
    if (job_client_call(c, "list", json_object(), &a, err))
        return -1;
    if (call->json)
        call->data = json_incref(a.json);
    else
        cmd_print_table(call, json_object_get(a.json, "jobs"), columns, "no jobs");
    job_answer_clear(&a);
    return 0;
}

/* Names with commas between them; else as JSON has it. The caller's to free. */
static char *shown(const json_t *value)
{
    struct rwf_str out = {0};
    const json_t *one;
    size_t i;
    if (json_is_string(value))
        return rwf_xstrdup(json_string_value(value));
    if (!json_is_array(value))
        return json_dumps(value, JSON_ENCODE_ANY);
    json_array_foreach((json_t *)(uintptr_t)value, i, one)
        rwf_str_addf(&out, "%s%s", i ? ", " : "", json_string_value(one));
    return rwf_str_take(&out);
}

static void print_status(const json_t *job)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)job, key, value) {
        char *text = shown(value);
        if (!json_is_null(value) && !(json_is_array(value) && !json_array_size(value)))
            printf("%-11s %s\n", key, text);
        free(text);
    }
}

static int do_status(struct cmd_call *call, struct job_client *c, const char *job,
                     struct rwf_err *err)
{
    struct job_answer a;
    if (job_client_call(c, "status", json_pack("{s:s}", "job", job), &a, err))
        return -1;
    call->data = json_incref(a.json);
    if (!call->json)
        print_status(a.json);
    job_answer_clear(&a);
    return 0;
}

/* --- stop, retry, delete --- */

static int ask(struct cmd_call *call, struct job_client *c, const char *verb,
               json_t *args, struct rwf_err *err)
{
    struct job_answer a;
    if (job_client_call(c, verb, args, &a, err))
        return -1;
    json_decref(call->data);
    call->data = json_incref(a.json);
    job_answer_clear(&a);
    return 0;
}

static const char *state_of(const struct cmd_call *call)
{
    const char *state = json_string_value(json_object_get(call->data, "state"));
    return state ? state : "";
}

static void show_state(const struct cmd_call *call)
{
    if (!call->json && !call->quiet)
        printf("job %s %s\n", json_string_value(json_object_get(call->data, "job")),
               state_of(call));
}

/* Waits until it has ended: what it runs may take its time to. */
static int do_stop(struct cmd_call *call, struct job_client *c, const char *job,
                   struct rwf_err *err)
{
    int64_t until = rwf_clock_mono() + cmd_duration(call, "timeout", 60 * RWF_NS_PER_S);
    json_t *args =
        json_pack("{s:s, s:b}", "job", job, "force", cmd_given(call, "force"));
    int rc = ask(call, c, "stop", args, err);
    while (!rc && strcmp(state_of(call), "stopping") == 0) {
        if (rwf_clock_mono() > until)
            return rwf_fail(
                err, RWF_E_DEADLINE,
                "job %s is still stopping; --force does not wait for its steps", job);
        nanosleep(&(struct timespec){.tv_nsec = STOP_PAUSE_MS * RWF_NS_PER_MS}, NULL);
        rc = ask(call, c, "status", json_pack("{s:s}", "job", job), err);
    }
    if (!rc)
        show_state(call);
    return rc;
}

static int do_retry(struct cmd_call *call, struct job_client *c, const char *job,
                    struct rwf_err *err)
{
    int rc = ask(call, c, "retry", json_pack("{s:s}", "job", job), err);
    if (!rc)
        show_state(call);
    return rc;
}

static int do_delete(struct cmd_call *call, struct job_client *c, const char *job,
                     struct rwf_err *err)
{
    int rc = ask(call, c, "delete", json_pack("{s:s}", "job", job), err);
    if (!rc)
        show_state(call);
    return rc;
}

static int do_outputs(struct cmd_call *call, struct job_client *c, const char *job,
                      struct rwf_err *err)
{
    const char *folder = cmd_operand(call, 2, NULL);
    if (!folder)
        return rwf_fail(err, RWF_E_USAGE, "say where to: raywf job outputs %s DIR",
                        job);
    int rc = cmd_job_fetch(c, job, folder, "outputs", &call->data, err);
    if (!rc)
        cmd_job_show_fetched(call, call->data);
    return rc;
}

/* --- the command --- */

static const struct verb {
    const char *name;
    int operands;        /* after it */
    const char *options; /* its own, of those below */
    int (*fn)(struct cmd_call *, struct job_client *, const char *job,
              struct rwf_err *);
} verbs[] = {
    {"list", 0, "", do_list},
    {"status", 1, "", do_status},
    {"logs", 1, " follow tail ", do_logs},
    {"stop", 1, " force timeout ", do_stop},
    {"delete", 1, "", do_delete},
    {"retry", 1, "", do_retry},
    {"outputs", 2, "", do_outputs},
};

static const struct cmd_option options[] = {
    {"detach", 'd', CMD_FLAG, NULL, false, NULL, "submit: do not follow it"},
    {"name", 0, CMD_TEXT, "NAME", false, "the recipe's file", "submit: its name"},
    {"priority", 0, CMD_TEXT, "N", false, "0", "submit: higher ones start first"},
    {"needs", 0, CMD_TEXT, "JOB,…", true, NULL,
     "submit: jobs that must succeed before"},
    {"retries", 0, CMD_COUNT, "N", false, "0",
     "submit: so often it goes on by itself after a failure"},
    {"schedule", 0, CMD_TEXT, "CRON", false, NULL,
     "submit: again and again, \"*/5 * * * *\" (UTC), @daily"},
    {"env", 0, CMD_TEXT, "NAME[=VALUE]", true, NULL,
     "submit: a variable of the job; without a value that of this shell"},
    {"no-outputs", 0, CMD_FLAG, NULL, false, NULL, "submit: leave what it made there"},
    {"output", 'o', CMD_DIR, "DIR", false, "the recipe's folder",
     "submit: where what it made goes"},
    CMD_RECIPE_OPTIONS,
    CMD_PART_OPTIONS,
    {"follow", 'f', CMD_FLAG, NULL, false, NULL, "logs: go on until the job ends"},
    {"tail", 'n', CMD_COUNT, "N", false, "all", "logs: the last N lines"},
    {"force", 0, CMD_FLAG, NULL, false, NULL, "stop: kill what it runs"},
    {"timeout", 0, CMD_DURATION, "TIME", false, "60s",
     "stop: how long to wait for its end"},
    CMD_HEAD_OPTIONS,
    {0},
};

/* An option of another verb is a mistake, said as one. */
static int check_options(const struct cmd_call *call, const struct verb *v,
                         struct rwf_err *err)
{
    static const char *const own[] = {
        "detach", "name",       "priority", "needs",   "retries", "schedule",
        "env",    "no-outputs", "output",   "profile", "param",   "set",
        "only",   "from",       "follow",   "tail",    "force",   "timeout"};
    for (size_t i = 0; i < RWF_COUNT(own); i++) {
        char *name = rwf_xasprintf(" %s ", own[i]);
        bool fits = v ? strstr(v->options, name) != NULL : i < 14;
        free(name);
        char *why = rwf_xasprintf("with job %s", v ? v->name : "submit");
        int rc = fits ? 0 : cmd_refuse(call, own[i], why, err);
        free(why);
        if (rc)
            return -1;
    }
    if (!v && (cmd_given(call, "no-outputs") || cmd_given(call, "output")) &&
        (cmd_given(call, "detach") || cmd_given(call, "schedule")))
        return rwf_fail(
            err, RWF_E_USAGE,
            "a job that is not followed brings nothing back by itself: raywf "
            "job outputs ID DIR does");
    return 0;
}

static int job_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *name = call->operands[0], *job = cmd_operand(call, 1, NULL);
    const struct verb *v = NULL;
    for (size_t i = 0; i < RWF_COUNT(verbs); i++)
        v = strcmp(verbs[i].name, name) == 0 ? &verbs[i] : v;
    if (check_options(call, v, err))
        return -1;
    int given = (int)call->operand_count - 1, most = v ? v->operands : 1;
    if (given > most)
        return rwf_fail(err, RWF_E_USAGE, "job %s: unexpected '%s'", name,
                        call->operands[most + 1]);
    if (!v)
        return cmd_job_submit(call, err);
    if (v->operands > 0 && !job)
        return rwf_fail(err, RWF_E_USAGE, "job %s: say which job: raywf job list",
                        name);
    struct job_client *c = cmd_job_connect(call, err);
    if (!c)
        return -1;
    job_client_catch(c);
    int rc = v->fn(call, c, job, err);
    job_client_close(c);
    return rc;
}

const struct cmd cmd_job = {
    .name = "job",
    .group = CMD_EXECUTE,
    .summary = "run recipes on a cluster, from any machine that has its key",
    .details =
        "submit sends the recipe's folder (without what .gitignore and .raywfignore "
        "name) to "
        "the head, which runs it there; the job outlives this terminal and the head's "
        "restart. A submit that is followed brings back what the run wrote in that "
        "folder, "
        "the outputs of its steps in .raywf/jobs/JOB, and ends with the run's exit "
        "code; a "
        "file that was changed here meanwhile is never replaced. retry goes on where "
        "the "
        "job failed or was stopped. JOB is an id, a unique piece of one, or a name "
        "(the "
        "newest of it).",
    .examples =
        "raywf job submit recipe.yaml\n"
        "raywf job submit recipe.yaml --detach --name nightly --schedule '0 3 * * *'\n"
        "raywf job submit eval.yaml --needs train --retries 2\n"
        "raywf job logs -f train\n"
        "raywf job outputs train results",
    .exits = "0 1 2 3 4 5 6 7 8 9 11 12",
    .operands = {{"submit|list|status|logs|stop|delete|retry|outputs", CMD_CHOICE, 1,
                  1},
                 {"RECIPE|JOB", CMD_FILE, 0, 1},
                 {"DIR", CMD_DIR, 0, 1}},
    .options = options,
    .run = job_run,
};
