/* SPDX-License-Identifier: Apache-2.0
 *
 * The live server of a folder, asked over its control socket: a line of JSON there, and
 * lines of JSON back, the last of which has "ok".
 */
#include "config.h"

#include "cmd/serve.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cmd/alive.h"
#include "run/engine.h"
#include "run/index.h"
#include "run/layout.h"
#include "serve/spec.h"
#include "wire/frame.h"

#define CONTROL_MAX 4096
#define ANSWER_MAX ((size_t)64 << 20)

/* --- where it is --- */

struct search {
    const char *root;
    struct cmd_live *live;
};

static void try_run(void *ctx, const json_t *run)
{
    const struct search *s = ctx;
    const char *id = json_string_value(json_object_get(run, "id"));
    size_t len;

    if (s->live->control || !id || engine_active(s->root, id) == 0)
        return;
    char *path = run_serve_control(s->root, id);
    if (rwf_fs_is_file(path))
        s->live->control = rwf_fs_read(path, CONTROL_MAX, &len, NULL);
    if (s->live->control)
        s->live->run = rwf_xstrdup(id);
    free(path);
}

int cmd_live_find(const char *root, struct cmd_live *ret, struct rwf_err *err)
{
    struct search s = {root, ret};

    *ret = (struct cmd_live){0};
    if (rwf_fs_exists(root))
        (void)run_index_each(root, 100, try_run, &s, NULL);
    if (ret->control)
        return 0;
    return rwf_fail(err, RWF_E_NORUN,
                    "no server is live in this folder; raywf serve FILE starts one");
}

void cmd_live_free(struct cmd_live *l)
{
    free(l->run);
    free(l->control);
    *l = (struct cmd_live){0};
}

static int find_here(struct cmd_live *ret, struct rwf_err *err)
{
    char *root = run_root_find(".", err);
    int result = root ? cmd_live_find(root, ret, err) : -1;

    free(root);
    return result;
}

/* --- asking it --- */

/* The next line, without its newline, or NULL. */
static char *read_line(int fd, struct rwf_str *in)
{
    char *end;

    while (!(end = in->len ? memchr(in->data, '\n', in->len) : NULL)) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || in->len > ANSWER_MAX)
            return NULL;
        rwf_str_addn(in, chunk, (size_t)n);
    }
    size_t len = (size_t)(end - in->data);
    char *line = rwf_xstrndup(in->data, len);
    memmove(in->data, end + 1, in->len - len - 1);
    in->len -= len + 1;
    return line;
}

/* Its last line, which has "ok"; those before it tell of progress. */
static json_t *read_answer(int fd, struct rwf_err *err)
{
    struct rwf_str in = {0};
    json_t *answer = NULL;
    char *line;

    while (!answer && (line = read_line(fd, &in))) {
        answer = json_loads(line, 0, NULL);
        if (answer && !json_object_get(answer, "ok")) {
            json_decref(answer);
            answer = NULL;
        }
        free(line);
    }
    rwf_str_free(&in);
    if (!answer)
        rwf_fail(err, RWF_E_ENV, "the server ended before it answered");
    return answer;
}

/* Takes request. *ret_data: the caller's; {} when there is none. */
static int ask(const struct cmd_live *live, json_t *request, json_t **ret_data,
               struct rwf_err *err)
{
    char *text = json_dumps(request, JSON_COMPACT);
    struct rwf_str line = {0};
    int fd = wire_unix_connect(live->control, err), result = -1;

    if (fd < 0)
        rwf_fail(err, RWF_E_NORUN,
                 "the server of run %s takes no requests: it is ending, or being started "
                 "again",
                 live->run);
    rwf_str_addf(&line, "%s\n", text);
    if (fd >= 0 && rwf_fs_write_all(fd, line.data, line.len, err) == 0) {
        json_t *answer = read_answer(fd, err), *data = json_object_get(answer, "data");
        const char *why = json_string_value(json_object_get(answer, "error"));
        int code = (int)json_integer_value(json_object_get(answer, "code"));
        if (json_is_true(json_object_get(answer, "ok"))) {
            *ret_data = data ? json_incref(data) : json_object();
            result = 0;
        } else if (answer) {
            rwf_fail(err, code ? code : RWF_E_FAILED, "%s", why ? why : "it failed");
        }
        json_decref(answer);
    }
    if (fd >= 0)
        close(fd);
    rwf_str_free(&line);
    free(text);
    json_decref(request);
    return result;
}

/* --- status --- */

static int count_healthy(const json_t *replicas)
{
    json_t *r;
    size_t i;
    int n = 0;

    json_array_foreach((json_t *)(uintptr_t)replicas, i, r) {
        const char *state = json_string_value(json_object_get(r, "state"));
        n += state && strcmp(state, "healthy") == 0;
    }
    return n;
}

/* For people three digits are enough. */
static json_t *rounded(const json_t *number)
{
    return json_real(round(json_number_value(number) * 1000) / 1000);
}

static void add_row(json_t *rows, const char *app, json_t *d)
{
    const json_t *latency = json_object_get(d, "latency_ms");
    char replicas[64];

    snprintf(replicas, sizeof(replicas), "%d/%lld",
             count_healthy(json_object_get(d, "replicas")),
             (long long)json_integer_value(json_object_get(d, "wanted")));
    json_array_append_new(
        rows, json_pack("{s:s, s:O?, s:O?, s:s, s:O?, s:O?, s:O?, s:O?, s:o, s:o}",
                        "app", app, "deployment", json_object_get(d, "name"), "kind",
                        json_object_get(d, "kind"), "replicas", replicas, "queued",
                        json_object_get(d, "queued"), "ongoing",
                        json_object_get(d, "ongoing"), "requests",
                        json_object_get(d, "requests"), "errors",
                        json_object_get(d, "errors"), "p50",
                        rounded(json_object_get(latency, "p50")), "p99",
                        rounded(json_object_get(latency, "p99"))));
}

/* Why an application, or replicas of it, are not up. */
static void print_reasons(const json_t *apps)
{
    const json_t *app, *d;
    size_t i, k;

    json_array_foreach(apps, i, app) {
        const char *name = json_string_value(json_object_get(app, "name"));
        const char *why = json_string_value(json_object_get(app, "reason"));
        if (why)
            printf("%s: the last deploy failed: %s\n", name, why);
        json_array_foreach(json_object_get(app, "deployments"), k, d) {
            const char *wrong = json_string_value(json_object_get(d, "reason"));
            if (wrong)
                printf("%s.%s: %s\n", name,
                       json_string_value(json_object_get(d, "name")), wrong);
        }
    }
}

static void print_apps(const struct cmd_call *call, const json_t *apps)
{
    static const struct cmd_column columns[] = {
        {"name", "APPLICATION", CELL_TEXT},
        {"state", "STATE", CELL_TEXT},
        {"url", "URL", CELL_TEXT},
        {0},
    };

    cmd_print_table(call, apps, columns, "");
    print_reasons(apps);
}

static void print_status(const struct cmd_call *call, const json_t *data)
{
    static const struct cmd_column columns[] = {
        {"app", "APPLICATION", CELL_TEXT},
        {"deployment", "DEPLOYMENT", CELL_TEXT},
        {"kind", "KIND", CELL_TEXT},
        {"replicas", "REPLICAS", CELL_TEXT},
        {"queued", "QUEUED", CELL_NUMBER},
        {"ongoing", "ONGOING", CELL_NUMBER},
        {"requests", "REQUESTS", CELL_NUMBER},
        {"errors", "ERRORS", CELL_NUMBER},
        {"p50", "P50 ms", CELL_NUMBER},
        {"p99", "P99 ms", CELL_NUMBER},
        {0},
    };
    json_t *rows = json_array(), *apps = json_object_get(data, "applications"), *app, *d;
    size_t i, k;

    if (!call->quiet && json_array_size(apps) > 0) {
        print_apps(call, apps);
        printf("\n");
    }
    json_array_foreach(apps, i, app) {
        const char *name = json_string_value(json_object_get(app, "name"));
        json_array_foreach(json_object_get(app, "deployments"), k, d)
            add_row(rows, name ? name : "?", d);
    }
    cmd_print_table(call, rows, columns, "nothing is served");
    json_decref(rows);
}

int cmd_serve_status(struct cmd_call *call, struct rwf_err *err)
{
    struct cmd_live live;
    json_t *data = NULL;

    if (find_here(&live, err) < 0)
        return -1;
    int code = ask(&live, json_pack("{s:s}", "do", "status"), &data, err);
    if (code == 0) {
        json_object_set_new(data, "run", json_string(live.run));
        if (!call->json)
            print_status(call, data);
        call->data = data;
    }
    cmd_live_free(&live);
    return code;
}

/* --- scale, down --- */

static int parse_count(const char *text, int *ret, struct rwf_err *err)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*end || end == text || n < 0)
        return rwf_fail(err, RWF_E_USAGE, "serve scale: '%s' is no number of replicas",
                        text);
    if (n > SERVE_REPLICAS_MAX)
        return rwf_fail(err, RWF_E_USAGE,
                        "serve scale: %s replicas are too many; at most %d", text,
                        SERVE_REPLICAS_MAX);
    *ret = (int)n;
    return 0;
}

int cmd_serve_scale(struct cmd_call *call, struct rwf_err *err)
{
    const char *dot = strchr(call->operands[1], '.');
    struct cmd_live live;
    json_t *data = NULL;
    int n = 0;

    if (parse_count(call->operands[2], &n, err) < 0 || find_here(&live, err) < 0)
        return -1;
    size_t len = dot ? (size_t)(dot - call->operands[1]) : strlen(call->operands[1]);
    json_t *request = json_pack("{s:s, s:s%, s:i}", "do", "scale", "app",
                                call->operands[1], len, "replicas", n);
    if (dot)
        json_object_set_new(request, "deployment", cmd_string(dot + 1));
    int code = ask(&live, request, &data, err);
    call->data = data;
    if (code == 0 && !call->json && !call->quiet)
        fprintf(stderr, "%s: %d replica%s from now on\n", call->operands[1], n,
                n == 1 ? "" : "s");
    cmd_live_free(&live);
    return code;
}

int cmd_serve_down(struct cmd_call *call, struct rwf_err *err)
{
    const char *app = cmd_operand(call, 1, NULL);
    int64_t drain = cmd_duration(call, "drain", 30 * RWF_NS_PER_S);
    struct cmd_live live;
    json_t *data = NULL;

    if (find_here(&live, err) < 0)
        return -1;
    json_t *request =
        app ? json_pack("{s:s, s:o, s:I}", "do", "remove", "app", cmd_string(app),
                        "timeout", (json_int_t)drain)
            : json_pack("{s:s, s:I}", "do", "down", "timeout", (json_int_t)drain);
    int code = ask(&live, request, &data, err);
    call->data = data;
    if (code == 0 && !call->json && !call->quiet)
        fprintf(stderr,
                app ? "%s is not served any more\n" : "the server has ended%s\n",
                app ? app : "");
    cmd_live_free(&live);
    return code;
}
