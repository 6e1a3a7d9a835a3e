/* SPDX-License-Identifier: Apache-2.0
 *
 * Applications over a front and replicas that a test plays, in simulated time: requests
 * through one deployment and through graphs, and updates under load: none of them may
 * lose a request or answer it twice.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/app.h"
#include "serve/balance.h"
#include "tests/unit/serve_front.h"
#include "tests/unit/serve_rig.h"

#define MS RWF_NS_PER_MS
#define S RWF_NS_PER_S
#define ONE "'batching':{'max_batch_size':1}"

static struct rig rig;
static struct serve_application *app;
static int deployed, failed;
static char why[1200];
static bool gone;

/* --- turning --- */

static void on_gone(void *ctx, struct serve_application *a)
{
    (void)ctx, (void)a;
    gone = true;
}

static void pass(int64_t ns)
{
    int64_t until = rig.now + ns;
    while (!gone) {
        rig_turn(&rig);
        rig.woken = INT64_MAX;
        serve_application_tick(app);
        if (gone || (rig.woken <= rig.now && rig_turn(&rig)))
            continue;
        if (rig.now >= until && rig.woken > rig.now)
            return;
        int64_t step = rig.now + 100 * MS < until ? rig.now + 100 * MS : until;
        if (rig.woken > rig.now)
            rig.now = rig.woken < step ? rig.woken : step;
    }
}

static void on_done(void *ctx, const struct rwf_err *err)
{
    (void)ctx;
    deployed += err == NULL;
    failed += err != NULL;
    snprintf(why, sizeof(why), "%s", err != NULL ? err->text : "");
}

static void deploy(const char *text)
{
    struct serve_deploy how = {.done = on_done};
    serve_application_deploy(app, rig_app("app", text), &how);
}

static void open_app(const char *text)
{
    rig_open(&rig);
    deployed = failed = 0;
    gone = false;
    app = serve_application_create(&rig.pool, "app");
    deploy(text);
    pass(1 * S);
}

static void up(const char *text)
{
    open_app(text);
    ck_assert_msg(deployed == 1, "%s", why);
}

static void down(void)
{
    serve_application_remove(app, 0, on_gone, NULL);
    for (int i = 0; i < 100 && !gone; i++)
        pass(1 * S);
    ck_assert(gone);
    rig_close(&rig);
}

/* --- requests --- */

static void ask(struct http_request *r, const char *body)
{
    front_request(r, body);
    r->arrived = rig.now;
    serve_application_request(app, r, "/x");
}

static void ask_with(struct http_request *r, const char *name, const char *value)
{
    front_request(r, "{}");
    r->arrived = rig.now;
    r->names[0] = name;
    r->values[0] = value;
    serve_application_request(app, r, "/x");
}

static void leave(struct http_request *r)
{
    r->gone = true;
    serve_application_gone(r);
}

/* Answers what each mock has, with its version as text. */
static void answer_all(void)
{
    for (struct mock *m = rig.mocks; m != NULL; m = m->next)
        while (m->count > 0)
            mock_answer(m, 0);
}

static struct mock *mock_of(const char *deployment)
{
    char *prefix = rwf_xasprintf("app.%s.", deployment);
    struct mock *m = rig.mocks;
    while (m != NULL && (strncmp(m->id, prefix, strlen(prefix)) != 0 || m->stopped))
        m = m->next;
    free(prefix);
    ck_assert_msg(m != NULL, "no replica of %s", deployment);
    return m;
}

static void answer(const char *deployment, int status, const char *body)
{
    struct mock *m = mock_of(deployment);
    ck_assert_msg(m->count > 0, "%s was not asked", deployment);
    struct serve_item *item = m->items[0];
    struct serve_answer a = {.status = status, .data = body, .size = strlen(body)};
    memmove(m->items, m->items + 1, (size_t)--m->count * sizeof(item));
    item->answer(item->ctx, &a);
}

static void expect(struct http_request *r, int status, const char *text)
{
    ck_assert_int_eq(r->ends, 1);
    const char *reply = r->reply.data != NULL ? r->reply.data : "";
    ck_assert_msg(r->status == status && strstr(reply, text) != NULL, "%d %s",
                  r->status, reply);
    front_clear(r);
}

START_TEST(test_one)
{
    struct http_request r[4];
    up("{'model':'m1'," ONE ",'timeout':1000000000}");
    ask(&r[0], "{}");
    answer("main", 200, "fine");
    expect(&r[0], 200, "fine");
    ask(&r[0], "{}");
    answer("main", 422, "{\"error\":1}");
    expect(&r[0], 422, "{\"error\":1}");
    ask(&r[1], "{}");
    pass(1 * S);
    expect(&r[1], 504, "deadline");
    ask_with(&r[2], "X-Timeout", "20");
    pass(20 * MS);
    expect(&r[2], 504, "deadline");
    ask_with(&r[2], "X-Timeout", "2s");
    expect(&r[2], 400, "whole number of milliseconds");
    ask_with(&r[2], "X-Timeout", "-1");
    expect(&r[2], 400, "whole number of milliseconds");
    ask_with(&r[2], "X-Priority", "high");
    expect(&r[2], 400, "X-Priority must be a whole number");
    ask(&r[3], "{}");
    leave(&r[3]); /* it was dropped before it cost anything */
    ck_assert_int_eq(mock_of("main")->count, 0);
    expect(&r[3], 0, "");
    ask(&r[0], "{}");
    mock_die(mock_of("main"), true);
    expect(&r[0], 502, "the mock died");
    down();
}
END_TEST

START_TEST(test_priority)
{
    struct http_request r[3];
    up("{'model':'m1'," ONE ",'max_ongoing_requests':1}");
    ask(&r[0], "{}");
    ask(&r[1], "{}");
    ask_with(&r[2], "X-Priority", "5");
    answer("main", 200, "1");
    answer("main", 200, "2");
    expect(&r[0], 200, "1");
    expect(&r[2], 200, "2");
    answer("main", 200, "3");
    expect(&r[1], 200, "3");
    down();
}
END_TEST

static void stream(const char *deployment, struct serve_item **ret)
{
    struct mock *m = mock_of(deployment);
    struct serve_answer a = {
        .status = 200, .content_type = "text/event-stream", .more = true};
    *ret = m->items[0];
    (*ret)->answer((*ret)->ctx, &a);
}

START_TEST(test_stream)
{
    struct http_request r;
    struct serve_item *item;
    up("{'model':'m1'," ONE "}");
    ask(&r, "{}");
    stream("main", &item);
    ck_assert(r.begun && r.ends == 0);
    item->piece(item->ctx, "a", 1);
    r.waiting = 1 << 20; /* a slow client holds up its replica */
    item->piece(item->ctx, "b", 1);
    ck_assert_int_eq(rig.paused, 1);
    pass(10 * MS);
    ck_assert_int_eq(rig.paused, 1);
    r.waiting = 0;
    pass(10 * MS);
    ck_assert_int_eq(rig.paused, 0);
    mock_of("main")->count = 0;
    item->end(item->ctx);
    ck_assert(!r.cut);
    expect(&r, 200, "ab");
    ask(&r, "{}");
    stream("main", &item);
    mock_die(mock_of("main"), true);
    ck_assert(r.cut);
    ck_assert_str_eq(r.reason, "replica app.main.1: the mock died");
    expect(&r, 200, "");
    /* One that leaves while it is written to. */
    pass(1 * S);
    ask(&r, "{}");
    r.limit = 3;
    stream("main", &item);
    item->piece(item->ctx, "abcd", 4);
    ck_assert(r.cut);
    ck_assert_str_eq(r.reason, ""); /* nobody's fault */
    ck_assert_int_eq(mock_of("main")->count, 0);
    expect(&r, 200, "");
    /* One that lasts longer than its application. */
    ask(&r, "{}");
    stream("main", &item);
    item->piece(item->ctx, "ab", 2);
    down();
    ck_assert(r.cut);
    ck_assert_str_eq(r.reason, "the application is being stopped");
    expect(&r, 200, "ab");
}
END_TEST

/* --- graphs --- */

#define GRAPH                                                                          \
    "{'deployments':{'tokens':{'model':'m1'," ONE "},'a':{'model':'m1'," ONE           \
    "},'b':{'model':'m1'," ONE "},'merge':{'model':'m1'," ONE "}},"                    \
    "'graph':{'sequence':['tokens',{'fanout':{'x':'a','y':'b'}},'merge']}}"

START_TEST(test_graph)
{
    struct http_request r;
    up(GRAPH);
    ask(&r, "{}");
    answer("tokens", 200, "{\"t\":1}");
    answer("b", 200, "2");
    answer("a", 200, "1");
    const struct serve_item *item = mock_of("merge")->items[0];
    ck_assert_str_eq(item->trace, "id-1");
    json_t *input = json_loadb(item->body, item->size, 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(input, "x")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(input, "y")), 2);
    json_decref(input);
    answer("merge", 200, "done");
    expect(&r, 200, "done");
    /* The first failure of a fanout drops the rest. */
    ask(&r, "{}");
    answer("tokens", 200, "{}");
    mock_die(mock_of("a"), true);
    expect(&r, 502, "the mock died");
    ck_assert_int_eq(mock_of("b")->count, 0);
    ask(&r, "{}");
    leave(&r);
    ck_assert_int_eq(mock_of("tokens")->count, 0);
    expect(&r, 0, "");
    down();
}
END_TEST

/* Pieces in the middle of a graph are put together; those at its end are passed on. */
START_TEST(test_graph_stream)
{
    struct http_request r;
    struct serve_item *item;
    up("{'deployments':{'p':{'model':'m1'," ONE "},'q':{'model':'m1'," ONE
       "}},'graph':{'sequence':['p','q']}}");
    ask(&r, "{}");
    stream("p", &item);
    item->piece(item->ctx, "ab", 2);
    item->piece(item->ctx, "cd", 2);
    mock_of("p")->count = 0;
    item->end(item->ctx);
    ck_assert_mem_eq(mock_of("q")->items[0]->body, "abcd", 4);
    stream("q", &item);
    item->piece(item->ctx, "xyz", 3);
    ck_assert(r.begun);
    mock_of("q")->count = 0;
    item->end(item->ctx);
    expect(&r, 200, "xyz");
    /* In the middle nothing of it has gone out: that is an error as any other. */
    ask(&r, "{}");
    stream("p", &item);
    mock_die(mock_of("p"), true);
    expect(&r, 502, "the mock died, in the middle of its answer");
    down();
}
END_TEST

START_TEST(test_fallback)
{
    struct http_request r;
    up("{'deployments':{'p':{'model':'m1'," ONE "},'q':{'model':'m1'," ONE
       "}},'graph':{'fallback':['p','q']}}");
    ask(&r, "{}");
    answer("p", 500, "no");
    answer("q", 200, "yes");
    expect(&r, 200, "yes");
    down();
}
END_TEST

/* --- updates --- */

enum { MANY = 4000 };
static struct http_request many[MANY];
static int asked;

/* One more request, and what is there answered: `bad` of the version m2 with 500. */
static void load(int64_t ns, bool bad)
{
    for (int64_t end = rig.now + ns; rig.now < end && asked < MANY - 4;) {
        for (int i = 0; i < 4; i++)
            ask(&many[asked++], "{}");
        for (struct mock *m = rig.mocks; m != NULL; m = m->next)
            while (m->count > 0 && (rig.now / MS) % 3 != 0)
                mock_status(m, 0, bad && strcmp(m->version, "m2") == 0 ? 500 : 200);
        pass(20 * MS);
    }
}

/* All were answered once; how many of them with 500. */
static int finish_load(void)
{
    int bad = 0;
    for (int i = 0; i < 50; i++) {
        answer_all();
        pass(100 * MS);
    }
    for (int i = 0; i < asked; i++) {
        ck_assert_msg(many[i].ends == 1, "request %d has %d ends", i, many[i].ends);
        ck_assert_msg(many[i].status == 200 || many[i].status == 500, "%d: %d %s", i,
                      many[i].status, many[i].reply.data);
        bad += many[i].status == 500;
        front_clear(&many[i]);
    }
    asked = 0;
    return bad;
}

START_TEST(test_update)
{
    static const char *const to[] = {"{'model':'m2','replicas':3," ONE "}",
                                     "{'model':'m2','replicas':3," ONE
                                     ",'update':{'canary':0.3,'hold':2000000000}}",
                                     "{'model':'m2','replicas':1," ONE
                                     ",'update':{'canary':0,'max_error_rate':0.01}}"};
    up("{'model':'m1','replicas':2," ONE "}");
    load(1 * S, false);
    deploy(to[_i]);
    load(1 * S, false);
    if (_i == 1) {
        ck_assert_int_eq(deployed, 1); /* the canary is watched */
        ck_assert_int_ge(rig_count(&rig, "m1"), 2);
        ck_assert_int_ge(rig_count(&rig, "m2"), 1);
    }
    load(4 * S, false);
    ck_assert_msg(deployed == 2 && failed == 0, "%s", why);
    ck_assert_int_eq(finish_load(), 0);
    ck_assert_int_eq(rig_count(&rig, "m1"), 0);
    ck_assert_int_eq(rig_count(&rig, "m2"), _i == 2 ? 1 : 3);
    ck_assert_int_ge(rig_events(&rig, "serve.update"), 2);
    down();
}
END_TEST

START_TEST(test_errors_roll_back)
{
    up("{'model':'m1','replicas':2," ONE "}");
    load(1 * S, false);
    deploy("{'model':'m2','replicas':2," ONE
           ",'update':{'canary':0.2,'hold':5000000000,'max_error_rate':0.1}}");
    load(5 * S, true);
    ck_assert_int_eq(failed, 1);
    ck_assert_ptr_nonnull(
        strstr(why, "requests to the new version failed (max_error_rate 0.1)"));
    ck_assert_ptr_nonnull(strstr(why, "the version before goes on"));
    ck_assert_int_ge(finish_load(), 1);
    ck_assert_int_eq(rig_count(&rig, "m1"), 2);
    ck_assert_int_eq(rig_count(&rig, "m2"), 0);
    down();
}
END_TEST

START_TEST(test_never_healthy)
{
    up("{'model':'m1','replicas':2," ONE "}");
    rig.bad_version = "m2";
    deploy("{'model':'m2','replicas':2," ONE "}");
    load(5 * S, false);
    ck_assert_int_eq(failed, 1);
    ck_assert_ptr_nonnull(strstr(why, "it does not come up"));
    ck_assert_int_eq(finish_load(), 0);
    ck_assert_int_eq(rig_count(&rig, "m1"), 2);
    ck_assert_int_eq(rig_count(&rig, "m2"), 0);
    ck_assert(serve_application_is_healthy(app));
    /* And the same version again is no update at all. */
    deploy("{'model':'m1','replicas':2," ONE "}");
    pass(1 * S);
    ck_assert_int_eq(deployed, 2);
    down();
}
END_TEST

START_TEST(test_first_fails)
{
    struct http_request r;
    rig_open(&rig);
    deployed = failed = 0;
    gone = false;
    app = serve_application_create(&rig.pool, "app");
    rig.bad_version = "m2";
    deploy("{'model':'m2'}");
    ask(&r, "{}");
    expect(&r, 503, "being deployed");
    ck_assert_int_eq(r.retry_after, 1);
    pass(5 * S);
    ck_assert_int_eq(failed, 1);
    ck_assert_str_eq(why, "serve.app: it does not come up");
    down();
}
END_TEST

/* A server that is not ours: the application is up without it, and whoever asks is told
 * why there is no answer. An update to it is none. */
START_TEST(test_away)
{
    struct http_request r;
    rig_open(&rig);
    deployed = failed = 0;
    gone = false;
    app = serve_application_create(&rig.pool, "app");
    rig.start = MOCK_WAITS;
    deploy("{'url':'http://h'}");
    pass(1 * S);
    ck_assert_int_eq(rig_events(&rig, "serve.replica_waits"), 1);
    ck_assert_int_eq(deployed, 0); /* it may come up together with us */
    pass(5 * S);
    ck_assert_int_eq(deployed, 1);
    ck_assert(!serve_application_is_healthy(app));
    ask(&r, "{}");
    expect(&r, 503, "nobody answers");
    struct mock *m = rig_mock(&rig, NULL, 0);
    m->waits = true; /* again, and the same */
    pass(60 * S);
    ck_assert_int_eq(rig_events(&rig, "serve.replica_waits"), 1);
    ck_assert_int_eq(rig.started, 1);
    m->ready = true;
    pass(1 * S);
    ck_assert(serve_application_is_healthy(app));
    ask(&r, "{}");
    ck_assert_int_eq(m->count, 1);
    mock_answer(m, 0);
    expect(&r, 200, "ok");
    /* It goes away, and comes back. */
    m->ill = true;
    pass(40 * S);
    ck_assert(!serve_application_is_healthy(app));
    ask(&r, "{}");
    expect(&r, 503, "nobody answers");
    rig_mock(&rig, NULL, 0)->ready = true;
    pass(1 * S);
    ck_assert(serve_application_is_healthy(app));
    deploy("{'url':'http://other'}");
    pass(6 * S);
    ck_assert_int_eq(failed, 1);
    ck_assert_str_eq(why, "serve.app: nobody answers; the version before goes on");
    ck_assert(serve_application_is_healthy(app));
    down();
}
END_TEST

/* One part of a graph is away: the rest serves. */
START_TEST(test_away_part)
{
    struct http_request r;
    rig_open(&rig);
    deployed = failed = 0;
    gone = false;
    app = serve_application_create(&rig.pool, "app");
    rig.waiting = "p";
    deploy("{'deployments':{'p':{'url':'http://h','health_check':{'initial_delay':0}},"
           "'q':{'model':'m1'," ONE "}},'graph':{'fallback':['p','q']}}");
    pass(1 * S);
    ck_assert_msg(deployed == 1, "%s", why);
    ask(&r, "{}");
    answer("q", 200, "instead");
    expect(&r, 200, "instead");
    down();
}
END_TEST

START_TEST(test_config)
{
    up("{'model':'m1','replicas':2,'user_config':{'a':1}," ONE "}");
    int started = rig.started;
    deploy("{'model':'m1','replicas':2,'user_config':{'a':2}," ONE "}");
    pass(1 * S);
    ck_assert_int_eq(deployed, 2);
    rig.refuses = "a is too large";
    deploy("{'model':'m1','replicas':2,'user_config':{'a':9}," ONE "}");
    pass(1 * S);
    ck_assert_int_eq(failed, 1);
    ck_assert_ptr_nonnull(strstr(why, "a is too large"));
    ck_assert_int_eq(rig.started, started);
    const struct mock *m = rig_mock(&rig, NULL, 0);
    ck_assert_int_eq(json_integer_value(json_object_get(m->config, "a")), 2);
    down();
}
END_TEST

/* Deployments come and go with the graph; requests end where they began. */
START_TEST(test_graph_changes)
{
    struct http_request r[2];
    up(GRAPH);
    ask(&r[0], "{}");
    deploy("{'deployments':{'tokens':{'model':'m1'," ONE "},'c':{'model':'m3'," ONE
           "}},"
           "'graph':{'sequence':['tokens','c']}}");
    pass(2 * S);
    ck_assert_int_eq(deployed, 2);
    ask(&r[1], "{}");
    answer("tokens", 200, "{}");
    answer("a", 200, "1"); /* still there for the first one */
    answer("b", 200, "2");
    answer("merge", 200, "old");
    expect(&r[0], 200, "old");
    answer("tokens", 200, "{}");
    answer("c", 200, "new");
    expect(&r[1], 200, "new");
    pass(1 * S);
    ck_assert_int_eq(rig_count(&rig, NULL), 2);
    down();
}
END_TEST

/* Another version before the first one is up. */
START_TEST(test_overtaken)
{
    open_app("{'model':'m1','replicas':2," ONE "}");
    rig.start = MOCK_SILENT;
    deploy("{'model':'m2','replicas':2," ONE "}");
    pass(1 * S);
    rig.start = MOCK_READY;
    deploy("{'model':'m3','replicas':1," ONE "}");
    pass(2 * S);
    ck_assert_int_eq(deployed, 2);
    ck_assert_int_eq(failed, 1);
    ck_assert_int_eq(rig_count(&rig, NULL), 1);
    ck_assert_int_eq(rig_count(&rig, "m3"), 1);
    down();
}
END_TEST

START_TEST(test_removed)
{
    struct http_request r[3];
    up("{'model':'m1'," ONE ",'max_ongoing_requests':1}");
    ask(&r[0], "{}");
    ask(&r[1], "{}");
    serve_application_remove(app, 2 * S, on_gone, NULL);
    pass(1 * S);
    ask(&r[2], "{}");
    expect(&r[2], 503, "being stopped");
    answer("main", 200, "in time");
    expect(&r[0], 200, "in time");
    pass(5 * S);
    expect(&r[1], 503, "being stopped");
    for (int i = 0; i < 50 && !gone; i++)
        pass(1 * S);
    ck_assert(gone);
    rig_close(&rig);
}
END_TEST

START_TEST(test_scale)
{
    struct rwf_err err = RWF_ERR_INIT;
    up("{'model':'m1'," ONE "}");
    ck_assert_int_eq(serve_application_scale(app, NULL, 3, &err), 0);
    pass(1 * S);
    ck_assert_int_eq(rig_count(&rig, NULL), 3);
    ck_assert_int_eq(serve_application_scale(app, "nobody", 3, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_NORUN);
    json_t *status = serve_application_json(app);
    ck_assert_str_eq(json_string_value(json_object_get(status, "state")), "running");
    json_decref(status);
    down();
}
END_TEST

/* --- all at once, by chance --- */

static const char *const texts[] = {
    "{'model':'m1','replicas':2," ONE ",'idempotent':true}",
    "{'model':'m2','replicas':3," ONE ",'update':{'canary':0.4,'hold':500000000}}",
    GRAPH,
    "{'deployments':{'main':{'model':'m1'," ONE "},'b':{'model':'m3'}},"
    "'graph':{'fallback':['main','b']}}"};

static void step(uint64_t *chance)
{
    uint64_t x = serve_random(chance) >> 16;
    int alive = rig_count(&rig, NULL);
    struct mock *m =
        alive > 0 ? rig_mock(&rig, NULL, (int)(x / 64 % (unsigned)alive)) : NULL;
    struct http_request *r = asked > 0 ? &many[x / 64 % (unsigned)asked] : NULL;
    switch (x % 16) {
    case 0:
    case 1:
        pass((int64_t)(x / 64 % 200) * MS);
        break;
    case 2:
        if (m != NULL && x / 4096 % 8 == 0)
            mock_die(m, x / 32768 % 2);
        break;
    case 3:
        if (r != NULL && r->ends == 0)
            leave(r);
        break;
    case 4:
        if (x / 64 % 16 == 0)
            deploy(texts[x / 1024 % RWF_COUNT(texts)]);
        break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        if (m != NULL && m->count > 0)
            mock_status(m, (int)(x / 4096 % (unsigned)m->count),
                        x / 64 % 16 ? 200 : 500);
        break;
    default:
        if (asked < MANY)
            ask(&many[asked++], "{}");
    }
}

START_TEST(test_chance)
{
    uint64_t chance = (uint64_t)_i * 77 + 5;
    open_app(texts[0]);
    asked = 0;
    for (int i = 0; i < 6000; i++)
        step(&chance);
    for (int i = 0; i < 900 && serve_application_ongoing(app) > 0; i++) {
        answer_all();
        pass(100 * MS);
    }
    for (int i = 0; i < asked; i++) {
        ck_assert_int_eq(many[i].ends, 1);
        front_clear(&many[i]);
    }
    asked = 0;
    down();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_app");
    TCase *t = tcase_create("app");
    rwf_mem_init();
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_one);
    tcase_add_test(t, test_priority);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_graph);
    tcase_add_test(t, test_graph_stream);
    tcase_add_test(t, test_fallback);
    tcase_add_loop_test(t, test_update, 0, 3);
    tcase_add_test(t, test_errors_roll_back);
    tcase_add_test(t, test_never_healthy);
    tcase_add_test(t, test_first_fails);
    tcase_add_test(t, test_away);
    tcase_add_test(t, test_away_part);
    tcase_add_test(t, test_config);
    tcase_add_test(t, test_graph_changes);
    tcase_add_test(t, test_overtaken);
    tcase_add_test(t, test_removed);
    tcase_add_test(t, test_scale);
    tcase_add_loop_test(t, test_chance, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
