/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm_api_rig.h"

#include <check.h>
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "llm/random_tokens.h"

/* --- open and close --- */

static int threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;

    while (d != NULL && readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void *nothing(void *ctx)
{
    return ctx;
}

/* A sanitizer has a thread of its own from the first one on. */
static void begin_threads(void)
{
    pthread_t t;

    ck_assert_int_eq(pthread_create(&t, NULL, nothing, NULL), 0);
    pthread_join(t, NULL);
}

static char *make_folder(void)
{
    char *folder = rwf_xstrdup("/tmp/raywf-api.XXXXXX");
    json_t *tokenizer = llm__random_tokenizer(API_VOCAB);

    ck_assert_ptr_nonnull(mkdtemp(folder));
    char *path = rwf_fs_join(folder, "tokenizer.json");
    ck_assert_int_eq(json_dump_file(tokenizer, path, JSON_COMPACT), 0);
    json_decref(tokenizer);
    free(path);
    return folder;
}

static int either(int given, int fallback)
{
    return given > 0 ? given : fallback;
}

static struct llm_api *open_api(struct api_rig *g, const struct api_rig_options *o)
{
    static const char *const names[] = {"tiny", "other/name", NULL};
    struct llm_config config = {
        .vocab = API_VOCAB,
        .hidden = 8,
        .context = 100000,
        .ends = {(int32_t)llm__random_end(API_VOCAB)},
        .end_count = 1,
        .temperature = 1,
        .top_p = 1,
        .repetition = 1,
    };
    struct llm_api_options a = {
        .folder = g->folder,
        .names = names,
        .template_ = "qwen3",
        .escape_special = o->escape,
        .seeded = o->seeded,
        .seed = o->seed,
        .engine = {.model = {.max_tokens = either(o->max_tokens, 64),
                             .max_sequences = either(o->max_sequences, 32),
                             .max_length = either(o->max_length, 1000)}},
    };
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_api *api = llm_api_create(&g->loop, &config, &a, &err);

    ck_assert_msg(api != NULL, "%s", err.text);
    return api;
}

void api_rig_open(struct api_rig *g, const struct api_rig_options *o)
{
    static const char *const open_paths[] = {"/health", NULL};
    struct http_server_options h = {
        .request = llm_api_request,
        .gone = llm_api_gone,
        .write_limit = o->write_limit,
        .max_body = 32 << 20,
        .api_keys = o->api_keys,
        .open_paths = open_paths,
    };
    struct rwf_err err = RWF_ERR_INIT;

    begin_threads();
    *g = (struct api_rig){.threads = threads(), .folder = make_folder()};
    memset(&llm_mock, 0, sizeof(llm_mock));
    llm_mock.blocks = either(o->blocks, 256);
    uv_loop_init(&g->loop);
    h.ctx = g->api = open_api(g, o);
    g->http = http_server_create(&g->loop, &h, &err);
    ck_assert_msg(g->http != NULL, "%s", err.text);
    struct http_client_options c = {.target = http_server_url(g->http), .max_idle = 64};
    g->client = http_client_create(&g->loop, &c, &err);
    ck_assert_msg(g->client != NULL, "%s", err.text);
}

void api_rig_close(struct api_rig *g)
{
    char *path = rwf_fs_join(g->folder, "tokenizer.json");

    llm_api_destroy(g->api);
    http_client_destroy(g->client);
    http_server_destroy(g->http);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&g->loop), 0);
    ck_assert_msg(atomic_load(&llm_mock.bad) == 0, "%s", llm_mock.what);
    ck_assert_int_eq(atomic_load(&llm_mock.open), 0);
    /* A thread that was joined may be listed for a moment more. */
    for (int i = 0; i < 2000 && threads() > g->threads; i++)
        usleep(1000);
    ck_assert_int_le(threads(), g->threads);
    unlink(path);
    rmdir(g->folder);
    free(path);
    free(g->folder);
}

void api_rig_until(struct api_rig *g, bool (*done)(void *ctx), void *ctx)
{
    int64_t end = rwf_clock_mono() + 300 * RWF_NS_PER_S;

    while (!done(ctx)) {
        ck_assert_msg(rwf_clock_mono() < end, "nothing came for minutes");
        if (uv_run(&g->loop, UV_RUN_NOWAIT) != 0)
            usleep(50);
    }
}

static bool is_idle(void *ctx)
{
    struct api_rig *g = ctx;
    struct http_server_stats h;
    struct llm_stats s;

    llm_engine_stats(llm_api_engine(g->api), &s);
    http_server_stats(g->http, &h);
    return s.running == 0 && s.waiting == 0 && s.blocks_used == 0 && h.ongoing == 0;
}

void api_rig_until_idle(struct api_rig *g)
{
    api_rig_until(g, is_idle, g);
}

/* --- events --- */

/* Two tokens of the same text are one member of top_logprobs, as elsewhere. */
#define FLAGS JSON_ALLOW_NUL

static void add_text(struct rwf_str *out, const json_t *text)
{
    if (json_is_string(text))
        rwf_str_addn(out, json_string_value(text), json_string_length(text));
}

static void take_choice(struct answer *a, const json_t *choice)
{
    int i = (int)json_integer_value(json_object_get(choice, "index"));
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *text = delta != NULL ? json_object_get(delta, "content")
                                       : json_object_get(choice, "text");
    const json_t *thought = json_object_get(delta, "reasoning_content");
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));

    ck_assert_int_lt(i, (int)RWF_COUNT(a->text));
    ck_assert_msg(a->finish[i][0] == '\0', "a choice goes on behind its end");
    add_text(&a->text[i], text);
    add_text(&a->thought[i], thought);
    a->roles += json_object_get(delta, "role") != NULL;
    if (finish != NULL)
        snprintf(a->finish[i], sizeof(a->finish[i]), "%s", finish);
}

static void take_event(struct answer *a, const char *line)
{
    json_error_t why;
    json_t *event, *choice;
    size_t i;

    ck_assert_msg(strncmp(line, "data: ", 6) == 0, "no event: %s", line);
    ck_assert_msg(!a->whole, "an event behind the last: %s", line);
    if (strcmp(line + 6, "[DONE]") == 0) {
        a->whole = true;
        return;
    }
    event = json_loads(line + 6, FLAGS, &why);
    ck_assert_msg(event != NULL, "%s: %.1000s", why.text, line);
    a->events++;
    json_array_foreach(json_object_get(event, "choices"), i, choice)
        take_choice(a, choice);
    if (json_is_object(json_object_get(event, "usage"))) {
        json_decref(a->usage);
        a->usage = json_incref(json_object_get(event, "usage"));
    }
    if (json_object_get(event, "error") != NULL)
        a->error = json_incref(json_object_get(event, "error"));
    json_decref(event);
}

static void take_events(struct answer *a)
{
    char *at = a->body.data, *end;

    while (at != NULL && (end = strstr(at, "\n\n")) != NULL) {
        *end = '\0';
        take_event(a, at);
        at = end + 2;
    }
}

/* --- requests --- */

static void on_head(void *ctx, const struct http_reply_head *head)
{
    ((struct answer *)ctx)->status = head->status;
}

static void on_piece(void *ctx, const void *data, size_t size)
{
    struct answer *a = ctx;

    rwf_str_addn(&a->body, data, size);
    if (a->cut_at > 0 && a->body.len >= a->cut_at)
        a->cut = true;
}

static void on_done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct answer *a = ctx;

    (void)sent;
    a->done = true;
    a->failed = err != NULL;
    a->call = NULL;
}

struct answer *api_post(struct api_rig *g, const char *path, const char *body)
{
    static const char *const names[] = {"Content-Type", "Authorization"};
    static const char *const values[] = {"application/json", "Bearer key"};
    struct answer *a = rwf_xcalloc(1, sizeof(*a));

    a->rig = g;
    a->call = http_client_call(g->client, &(struct http_call_options){
                                              .method = body == NULL ? "GET" : "POST",
                                              .path = path,
                                              .names = names,
                                              .values = values,
                                              .header_count = 2,
                                              .body = body,
                                              .size = body == NULL ? 0 : strlen(body),
                                              .head = on_head,
                                              .piece = on_piece,
                                              .done = on_done,
                                              .ctx = a,
                                          });
    return a;
}

void api_leave(struct answer *a)
{
    if (a->call != NULL)
        http_call_cancel(a->call);
    a->call = NULL;
    a->done = true;
}

static bool is_done(void *ctx)
{
    struct answer *a = ctx;

    if (a->cut)
        api_leave(a);
    return a->done;
}

void api_wait(struct answer *a)
{
    api_rig_until(a->rig, is_done, a);
}

void api_answer_free(struct answer *a)
{
    api_leave(a);
    rwf_str_free(&a->body);
    for (size_t i = 0; i < RWF_COUNT(a->text); i++) {
        rwf_str_free(&a->text[i]);
        rwf_str_free(&a->thought[i]);
    }
    json_decref(a->usage);
    json_decref(a->error);
    free(a);
}

struct answer *api_ask(struct api_rig *g, const char *path, const char *body)
{
    struct answer *a = api_post(g, path, body);

    api_wait(a);
    if (a->status == 200 && a->body.len > 5 && strncmp(a->body.data, "data:", 5) == 0)
        take_events(a);
    return a;
}

json_t *api_json(struct api_rig *g, const char *path, const char *body, int status)
{
    struct answer *a = api_ask(g, path, body);
    json_error_t why;

    ck_assert_msg(a->status == status, "%s %.300s: %d: %.1000s", path, body, a->status,
                  a->body.data);
    json_t *root = json_loadb(a->body.data, a->body.len, FLAGS, &why);
    ck_assert_msg(root != NULL, "%s %s: %s: %.1000s", path, body, why.text,
                  a->body.data);
    api_answer_free(a);
    return root;
}

const json_t *api_at(const json_t *root, const char *place)
{
    char *copy = rwf_xstrdup(place), *rest = copy, *part;

    while (root != NULL && (part = strsep(&rest, ".")) != NULL)
        root = json_is_array(root) ? json_array_get(root, strtoul(part, NULL, 10))
                                   : json_object_get(root, part);
    free(copy);
    return root;
}

const char *api_text_at(const json_t *root, const char *place)
{
    const char *text = json_string_value(api_at(root, place));

    ck_assert_msg(text != NULL, "there is no text at %s", place);
    return text;
}
