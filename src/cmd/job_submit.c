/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf job submit: checks the recipe here, sends its folder unless the head has it,
 * and follows the job unless --detach is given.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "bundle/bundle.h"
#include "cmd/compile.h"
#include "cmd/job.h"
#include "job/job.h"
#include "job/server.h"
#include "recipe/sources.h"

#define BUNDLE_BYTES (INT64_C(1) << 30)
#define BUNDLE_FILES 100000
#define WORTH_SAYING (INT64_C(16) << 20)

struct submit {
    struct cmd_call *call;
    struct job_client *client;
    char *folder, *recipe; /* recipe: beneath folder */
    char digest[RWF_DIGEST_LEN], id[RWF_RUN_ID_LEN];
    json_t *spec;
};

static const struct bundle_options bundle = {
    .ignore = true, .max_bytes = BUNDLE_BYTES, .max_files = BUNDLE_FILES};

/* --- what is sent --- */

/* Files that a recipe includes must travel with it. */
static int check_sources(const struct submit *s, const struct recipe *r,
                         struct rwf_err *err)
{
    const struct recipe_sources *sources = recipe_sources(r);
    size_t len = strlen(s->folder);
    for (size_t i = 0; i < recipe__sources_count(sources); i++) {
        const char *path = recipe__source_path(sources, (uint32_t)i);
        if (path && (strncmp(path, s->folder, len) != 0 || path[len] != '/'))
            return rwf_fail(
                err, RWF_E_RECIPE,
                "'%s' is not in the recipe's folder %s, which is what travels: "
                "put it there",
                path, s->folder);
    }
    return 0;
}

static int check_recipe(struct submit *s, struct rwf_err *err)
{
    struct cmd_compiled c;
    const char *path = cmd_operand(s->call, 1, NULL);
    if (!path)
        return rwf_fail(err, RWF_E_USAGE, "job submit: say which recipe");
    int code = cmd_compile(s->call, path, true, &c, err);
    if (code == 0 && c.plan)
        code = rwf_fail(err, RWF_E_USAGE, "%s is a plan: submit its recipe", path);
    if (code == 0) {
        char *whole = rwf_fs_absolute(path);
        s->folder = rwf_xstrdup(recipe_dir(c.recipe));
        s->recipe = rwf_xstrdup(rwf_fs_basename(whole));
        free(whole);
        code = check_sources(s, c.recipe, err);
    }
    cmd_compiled_free(&c);
    return code;
}

/* --profile, --param … as they were given. */
static json_t *shaping(const struct cmd_call *call)
{
    static const char *const names[] = {"profile", "param", "set", "only", "from"};
    json_t *args = json_array();
    for (size_t i = 0; i < RWF_COUNT(names); i++) {
        size_t count;
        const char **values = cmd_list(call, names[i], &count);
        for (size_t n = 0; n < count; n++) {
            char *option = rwf_xasprintf("--%s", names[i]);
            json_array_append_new(args, json_string(option));
            json_array_append_new(args, cmd_string(values[n]));
            free(option);
        }
        free(values);
    }
    return args;
}

/* K=V, or K: its value here, which then is in no list of processes, and is kept out of
 * logs (secrets). */
static json_t *environment(const struct cmd_call *call, json_t *secrets,
                           struct rwf_err *err)
{
    size_t count;
    const char **list = cmd_list(call, "env", &count);
    json_t *env = json_object();
    for (size_t i = 0; env && i < count; i++) {
        const char *eq = strchr(list[i], '=');
        char *name =
            rwf_xstrndup(list[i], eq ? (size_t)(eq - list[i]) : strlen(list[i]));
        const char *value = eq ? eq + 1 : getenv(name);
        json_t *text = value && *name ? json_string(value) : NULL;
        if (text) {
            json_object_set_new(env, name, text);
            if (!eq)
                json_array_append_new(secrets, json_string(name));
        } else {
            rwf_fail(err, RWF_E_USAGE,
                     value ? "--env %s: NAME=VALUE is expected, in UTF-8"
                           : "--env %s: it is not set here; NAME=VALUE says what it is",
                     list[i]);
            json_decref(env);
            env = NULL;
        }
        free(name);
    }
    free(list);
    return env;
}

/* "a,b" and several options alike. */
static json_t *needs(const struct cmd_call *call)
{
    size_t count;
    const char **list = cmd_list(call, "needs", &count);
    json_t *out = json_array();
    for (size_t i = 0; i < count; i++) {
        char *copy = rwf_xstrdup(list[i]), *save = NULL;
        for (char *one = strtok_r(copy, ",", &save); one;
             one = strtok_r(NULL, ",", &save))
            json_array_append_new(out, cmd_string(one));
        free(copy);
    }
    free(list);
    return out;
}

static int read_priority(const struct cmd_call *call, int *ret, struct rwf_err *err)
{
    const char *given = cmd_text(call, "priority", "0");
    char *end;
    long n = strtol(given, &end, 10);
    if (*end || end == given || n < -1000000 || n > 1000000)
        return rwf_fail(err, RWF_E_USAGE, "--priority %s: a whole number is expected",
                        given);
    *ret = (int)n;
    return 0;
}

static int make_spec(struct submit *s, struct rwf_err *err)
{
    const struct cmd_call *call = s->call;
    int priority = 0;
    json_t *secrets = json_array(), *env = environment(call, secrets, err);
    if (!env || read_priority(call, &priority, err)) {
        json_decref(env);
        json_decref(secrets);
        return -1;
    }
    char *stem = rwf_xstrndup(s->recipe, strcspn(s->recipe, "."));
    s->spec =
        json_pack("{s:o, s:o, s:s, s:i, s:I, s:o, s:o, s:o, s:o}", "name",
                  cmd_string(cmd_text(call, "name", *stem ? stem : "job")), "recipe",
                  cmd_string(s->recipe), "digest", s->digest, "priority", priority,
                  "retries", (json_int_t)cmd_count(call, "retries", 0), "needs",
                  needs(call), "args", shaping(call), "env", env, "secrets", secrets);
    free(stem);
    if (cmd_given(call, "schedule"))
        json_object_set_new(s->spec, "schedule",
                            cmd_string(cmd_text(call, "schedule", "")));
    rwf_id_run(s->id);
    /* What the head would refuse is said before anything is sent. */
    struct job *probe = job_create(s->id, s->spec, 0, err);
    job_free(probe);
    return probe ? 0 : -1;
}

/* --- sending --- */

static void show_upload(const struct submit *s, const struct bundle_writer *w)
{
    char size[RWF_UNITS_LEN];
    if (!s->call->quiet && bundle_writer_bytes(w) >= WORTH_SAYING)
        fprintf(stderr, "sending %s in %lld files\n",
                rwf_size_format(bundle_writer_bytes(w), size),
                (long long)bundle_writer_files(w));
}

static int upload(struct submit *s, struct rwf_err *err)
{
    struct bundle_writer *w = bundle_writer_open(s->folder, &bundle, err);
    char *chunk = rwf_xmalloc(JOB_PIECE);
    json_t *first = json_pack("{s:s}", "digest", s->digest);
    ssize_t n = w ? 1 : -1;
    bool end = false;
    if (w)
        show_upload(s, w);
    while (n >= 0 && !end) {
        n = bundle_writer_read(w, chunk, JOB_PIECE, err);
        end = n >= 0 && bundle_writer_digest(w) && (size_t)n < JOB_PIECE;
        if (n >= 0 && job_client_put(s->client, first, chunk, (size_t)n, end, err))
            n = -1;
        first = NULL;
    }
    free(chunk);
    bundle_writer_close(w);
    return n < 0 ? rwf_wrap(err, "sending %s", s->folder) : 0;
}

static int send_job(struct submit *s, json_t **ret, struct rwf_err *err)
{
    struct job_answer a;
    for (int sent = 0;; sent++) {
        json_t *args = json_pack("{s:s, s:O}", "id", s->id, "spec", s->spec);
        if (job_client_call(s->client, "submit", args, &a, err))
            return -1;
        bool needed = json_object_get(a.json, "need") != NULL;
        if (!needed)
            break;
        job_answer_clear(&a);
        if (sent == 2)
            return rwf_fail(err, RWF_E_ENV, "the head does not keep the bundle");
        if (upload(s, err))
            return -1;
    }
    *ret = json_incref(a.json);
    job_answer_clear(&a);
    return 0;
}

/* --- following --- */

static int goes_on(const struct submit *s, struct rwf_err *err)
{
    return rwf_fail(
        err, RWF_E_STOPPED,
        "no longer followed; job %s goes on: raywf job logs -f %s, raywf job "
        "stop %s",
        s->id, s->id, s->id);
}

static int bring_back(struct submit *s, struct rwf_err *err)
{
    const char *output = cmd_text(s->call, "output", NULL);
    char *beneath =
        output ? rwf_xstrdup("outputs") : rwf_xasprintf(".raywf/jobs/%s", s->id);
    json_t *fetched = NULL;
    int rc = cmd_job_fetch(s->client, s->id, output ? output : s->folder, beneath,
                           &fetched, err);
    if (!rc) {
        cmd_job_show_fetched(s->call, fetched);
        json_object_set(s->call->data, "fetched", fetched);
    }
    json_decref(fetched);
    free(beneath);
    return rc;
}

static int follow(struct submit *s, struct rwf_err *err)
{
    const struct cmd_job_follow f = {
        .job = s->id, .tail = -1, .follow = true, .silent = s->call->json};
    struct rwf_err later = RWF_ERR_INIT;
    json_t *end = NULL;
    if (cmd_job_logs(s->client, &f, &end, err)) {
        if (err->code == RWF_E_STOPPED)
            goes_on(s, err);
        return -1;
    }
    int code = cmd_job_exit(end);
    const char *state = json_string_value(json_object_get(end, "state"));
    const char *cause = json_string_value(json_object_get(end, "cause"));
    json_object_set_new(s->call->data, "state", json_string(state));
    json_object_set_new(s->call->data, "job_exit_code", json_integer(code));
    if (!s->call->quiet)
        fprintf(stderr, "job %s %s%s%s\n", s->id, state, cause ? ": " : "",
                cause ? cause : "");
    json_decref(end);
    if (!cmd_given(s->call, "no-outputs") && bring_back(s, &later))
        code = rwf_exit_worse(code, cmd_keep_error(s->call, &later));
    return code;
}

/* Why it does not start at once. */
static void show_waits(struct submit *s)
{
    struct job_answer a;
    if (job_client_call(s->client, "status", json_pack("{s:s}", "job", s->id), &a,
                        NULL))
        return;
    const char *waits = json_string_value(json_object_get(a.json, "waits"));
    if (waits && !s->call->quiet)
        fprintf(stderr, "job %s waits %s\n", s->id, waits);
    job_answer_clear(&a);
}

static void show_submitted(const struct submit *s, const char *state)
{
    if (s->call->json)
        return;
    if (cmd_given(s->call, "detach") || cmd_given(s->call, "schedule")) {
        printf("%s\n", s->id);
        if (!s->call->quiet)
            fprintf(stderr, "job %s is %s; see it: raywf job logs -f %s\n", s->id,
                    state, s->id);
    } else if (!s->call->quiet) {
        fprintf(stderr, "job %s is %s\n", s->id, state);
    }
    fflush(stdout);
}

static int submit(struct submit *s, struct rwf_err *err)
{
    json_t *answer = NULL;
    bool alone = cmd_given(s->call, "detach") || cmd_given(s->call, "schedule");
    int code = check_recipe(s, err);
    if (code)
        return code;
    if (bundle_digest(s->folder, &bundle, s->digest, err) || make_spec(s, err))
        return -1;
    s->client = cmd_job_connect(s->call, err);
    if (!s->client)
        return -1;
    job_client_catch(s->client);
    if (send_job(s, &answer, err))
        return -1;
    show_submitted(s, json_string_value(json_object_get(answer, "state")));
    s->call->data = answer;
    if (strcmp(json_string_value(json_object_get(answer, "state")), "queued") == 0)
        show_waits(s);
    return alone ? 0 : follow(s, err);
}

int cmd_job_submit(struct cmd_call *call, struct rwf_err *err)
{
    struct submit s = {.call = call};
    int code = submit(&s, err);
    job_client_close(s.client);
    json_decref(s.spec);
    free(s.folder);
    free(s.recipe);
    return code;
}
