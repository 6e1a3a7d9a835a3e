/* SPDX-License-Identifier: Apache-2.0
 *
 * A deployment over replicas that a test moves by hand, in simulated time. Whatever
 * happens, each job ends exactly once, and one that may not run twice does not.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/balance.h"
#include "tests/unit/serve_rig.h"

#define MS RWF_NS_PER_MS
#define S RWF_NS_PER_S

struct request {
    struct serve_job job;
    int ends, pieces, runs;
    int status;
    bool cut, cancelled;
    char why[200];
};

static struct rig rig;
static struct serve_fleet *fleet;
static struct serve_generation *generation;

static void on_answer(struct serve_job *j, const struct serve_answer *a)
{
    struct request *r = j->ctx;
    r->status = a->status;
    r->ends += !a->more;
}

static void on_piece(struct serve_job *j, const void *data, size_t size)
{
    (void)data;
    ((struct request *)j->ctx)->pieces += (int)size;
}

static void on_end(struct serve_job *j, const char *cut)
{
    struct request *r = j->ctx;
    r->ends++;
    r->cut = cut != NULL;
    snprintf(r->why, sizeof(r->why), "%s", cut != NULL ? cut : "");
}

static void on_failed(struct serve_job *j, int status, const char *why, int retry_after)
{
    struct request *r = j->ctx;
    (void)retry_after;
    r->ends++;
    r->status = status;
    snprintf(r->why, sizeof(r->why), "%s", why);
}

static struct request request(void)
{
    return (struct request){.job = {.item = {.method = "POST",
                                             .path = "/",
                                             .query = "",
                                             .body = "x",
                                             .size = 1},
                                    .answer = on_answer,
                                    .piece = on_piece,
                                    .end = on_end,
                                    .failed = on_failed}};
}

static void submit(struct request *r)
{
    *r = request();
    r->job.ctx = r;
    serve_fleet_submit(fleet, &r->job);
}

/* Lets time go by in steps of at most 100 ms, with all that follows. */
static void pass(int64_t ns)
{
    int64_t until = rig.now + ns;
    for (;;) {
        rig_turn(&rig);
        rig.woken = INT64_MAX;
        serve_fleet_tick(fleet);
        if (rig.woken <= rig.now && rig_turn(&rig))
            continue;
        if (rig.now >= until)
            return;
        int64_t step = rig.now + 100 * MS < until ? rig.now + 100 * MS : until;
        rig.now = rig.woken > rig.now && rig.woken < step ? rig.woken : step;
    }
}

static void begin(const char *text)
{
    struct serve_app *a = rig_app("app", text);
    struct serve_generation *old = generation;
    generation = serve_generation_create(a);
    serve_fleet_begin(fleet, generation, &a->deployments[0], -1);
    serve_generation_unref(old);
}

static void open_fleet(const char *text)
{
    rig_open(&rig);
    generation = NULL;
    fleet = serve_fleet_create(&rig.pool, "app", "main");
    begin(text);
}

static void up(const char *text)
{
    open_fleet(text);
    pass(0);
    serve_fleet_commit(fleet);
    pass(0);
}

static bool gone;

static void on_gone(void *ctx)
{
    (void)ctx;
    gone = true;
}

static void down(void)
{
    gone = false;
    serve_fleet_destroy(fleet, on_gone, NULL);
    for (int i = 0; i < 100 && !gone; i++) {
        rig_turn(&rig);
        rig.now += 1 * S;
        serve_fleet_tick(fleet);
    }
    ck_assert(gone);
    serve_generation_unref(generation);
    rig_close(&rig);
}

static int count_at(const char *version)
{
    int n = 0;
    for (int i = 0; i < rig_count(&rig, version); i++)
        n += rig_mock(&rig, version, i)->count;
    return n;
}

static void answer_all(void)
{
    for (struct mock *m = rig.mocks; m != NULL; m = m->next)
        while (m->count > 0)
            mock_answer(m, 0);
}

/* --- the way of requests --- */

START_TEST(test_requests)
{
    struct request r[10];
    up("{'model':'m1','replicas':2,'max_ongoing_requests':2}");
    ck_assert_int_eq(rig_count(&rig, NULL), 2);
    for (int i = 0; i < 10; i++)
        submit(&r[i]);
    ck_assert_int_eq(count_at(NULL), 4);
    ck_assert_uint_eq(serve_fleet_ongoing(fleet), 10);
    answer_all();
    for (int i = 0; i < 10; i++)
        ck_assert(r[i].ends == 1 && r[i].status == 200);
    down();
}
END_TEST

START_TEST(test_full)
{
    struct request r[5];
    up("{'model':'m1','replicas':1,'max_ongoing_requests':1,'max_queued_requests':2}");
    for (int i = 0; i < 5; i++)
        submit(&r[i]);
    ck_assert(r[3].ends == 1 && r[3].status == 503 && r[4].status == 503);
    ck_assert_str_eq(r[3].why, "too many requests wait (max_queued_requests)");
    answer_all();
    ck_assert(r[0].status == 200 && r[2].status == 200);
    down();
}
END_TEST

START_TEST(test_deadlines)
{
    struct request r[2];
    up("{'model':'m1','replicas':1,'max_ongoing_requests':1}");
    for (int i = 0; i < 2; i++) {
        r[i] = request();
        r[i].job.ctx = &r[i];
        r[i].job.wait.deadline = rig.now + 50 * MS;
        serve_fleet_submit(fleet, &r[i].job);
    }
    pass(49 * MS);
    ck_assert_int_eq(r[0].ends + r[1].ends, 0);
    pass(1 * MS);
    ck_assert(r[0].ends == 1 && r[0].status == 504);
    ck_assert(r[1].ends == 1 && r[1].status == 504);
    ck_assert_int_eq(count_at(NULL), 0); /* it was dropped */
    submit(&r[0]);
    answer_all();
    ck_assert_int_eq(r[0].status, 200);
    down();
}
END_TEST

START_TEST(test_cancel)
{
    struct request r[3];
    up("{'model':'m1','replicas':1,'max_ongoing_requests':1}");
    for (int i = 0; i < 3; i++)
        submit(&r[i]);
    serve_fleet_cancel(fleet, &r[1].job); /* queued */
    serve_fleet_cancel(fleet, &r[0].job); /* at the replica: the next one goes */
    ck_assert_int_eq(count_at(NULL), 1);
    answer_all();
    ck_assert_int_eq(r[0].ends + r[1].ends, 0);
    ck_assert(r[2].ends == 1 && r[2].status == 200);
    serve_fleet_cancel(fleet, &r[2].job); /* over: nothing */
    down();
}
END_TEST

static void begin_stream(struct mock *m)
{
    struct serve_item *item = m->items[0];
    struct serve_answer a = {.status = 200, .more = true};
    item->answer(item->ctx, &a);
    item->piece(item->ctx, "abc", 3);
}

START_TEST(test_stream)
{
    struct request r[2];
    up("{'model':'m1','replicas':1,'max_ongoing_requests':1,'idempotent':true}");
    submit(&r[0]);
    submit(&r[1]);
    struct mock *m = rig_mock(&rig, NULL, 0);
    begin_stream(m);
    ck_assert_int_eq(m->count, 1); /* it is busy as long as pieces come */
    struct serve_item *item = m->items[0];
    m->count = 0;
    item->end(item->ctx);
    ck_assert(r[0].ends == 1 && !r[0].cut && r[0].pieces == 3);
    begin_stream(m);
    mock_die(m, true); /* never asked again: half of it is with the client */
    ck_assert(r[1].ends == 1 && r[1].cut);
    ck_assert_str_eq(r[1].why, "replica app.main.1: the mock died");
    struct serve_metrics_row row;
    serve_fleet_row(fleet, &row);
    ck_assert_uint_eq(row.m->cut, 1);
    down();
}
END_TEST

/* --- batches --- */

START_TEST(test_batches)
{
    struct request r[20];
    up("{'model':'m1','replicas':1,'max_ongoing_requests':100,"
       "'batching':{'max_batch_size':4,'batch_wait_timeout':2000000}}");
    struct mock *m = rig_mock(&rig, NULL, 0);
    for (int i = 0; i < 3; i++)
        submit(&r[i]);
    ck_assert_int_eq(m->count, 0);
    submit(&r[3]);
    ck_assert_int_eq(m->count, 4);
    ck_assert_int_eq(m->sends, 1);
    submit(&r[4]);
    ck_assert_int_eq(m->sends, 1);
    pass(2 * MS); /* it has waited long enough */
    ck_assert_int_eq(m->sends, 2);
    for (int i = 5; i < 20; i++)
        submit(&r[i]);
    ck_assert_int_eq(m->sends, 2); /* one works, one is ready: the others gather */
    while (m->count > 0)
        mock_answer(m, 0);
    pass(2 * MS);
    while (m->count > 0)
        mock_answer(m, 0);
    ck_assert_int_eq(m->sends, 6);
    for (int i = 0; i < 20; i++)
        ck_assert(r[i].ends == 1 && r[i].status == 200);
    down();
}
END_TEST

/* --- deaths --- */

static const struct {
    const char *extra;
    bool ran;
    int deaths, status;
} deaths[] = {
    {"", true, 1, 502},
    {"", false, 1, 200},
    {",'idempotent':true,'retries':2", true, 2, 200},
    {",'idempotent':true,'retries':2", true, 3, 502},
};

START_TEST(test_death)
{
    struct request r;
    char *text = rwf_xasprintf("{'model':'m1','replicas':1,'max_ongoing_requests':4%s}",
                               deaths[_i].extra);
    up(text);
    submit(&r);
    for (int i = 0; i < deaths[_i].deaths; i++) {
        ck_assert_int_eq(r.ends, 0);
        mock_die(rig_mock(&rig, NULL, 0), deaths[_i].ran);
        pass(1 * S); /* the next one is there */
    }
    answer_all();
    ck_assert_int_eq(r.ends, 1);
    ck_assert_int_eq(r.status, deaths[_i].status);
    if (r.status == 502)
    {
        ck_assert_ptr_nonnull(strstr(r.why, "replica ")); /* and which one */
        ck_assert_ptr_nonnull(strstr(r.why, ": the mock died"));
    }
    ck_assert_int_eq(rig_events(&rig, "serve.replica_died"), deaths[_i].deaths);
    free(text);
    down();
}
END_TEST

/* They wait for the next ones; when those do not come up, they need not wait for long.
 */
START_TEST(test_all_dead)
{
    struct request r[3];
    up("{'model':'m1','replicas':3}");
    for (int i = 0; i < 3; i++)
        mock_die(rig_mock(&rig, NULL, 0), true);
    submit(&r[0]);
    ck_assert_int_eq(r[0].ends, 0);
    pass(2 * S);
    ck_assert_int_eq(rig_count(&rig, NULL), 3);
    answer_all();
    ck_assert(r[0].ends == 1 && r[0].status == 200);
    rig.start = MOCK_DIES;
    for (int i = 0; i < 3; i++)
        mock_die(rig_mock(&rig, NULL, 0), true);
    submit(&r[1]);
    pass(20 * S);
    ck_assert(r[1].ends == 1 && r[1].status == 503);
    ck_assert_str_eq(r[1].why, "it does not come up");
    submit(&r[2]);
    ck_assert(r[2].ends == 1 && r[2].status == 503);
    rig.start = MOCK_READY;
    pass(20 * S);
    submit(&r[2]);
    answer_all();
    ck_assert(r[2].ends == 1 && r[2].status == 200);
    down();
}
END_TEST

/* Restarts of what never lives come ever more seldom. */
START_TEST(test_backoff)
{
    open_fleet("{'model':'m1','replicas':1}");
    rig.start = MOCK_DIES;
    rig_mock(&rig, NULL, 0)->ready = false;
    rig_mock(&rig, NULL, 0)->dying = true;
    pass(60 * S);
    ck_assert_int_ge(rig.started, 8);
    ck_assert_int_le(rig.started, 16);
    struct serve_progress p;
    serve_fleet_progress(fleet, &p);
    ck_assert(p.failed);
    ck_assert_str_eq(p.why, "it does not come up");
    rig.start = MOCK_FAILS;
    pass(20 * S);
    serve_fleet_progress(fleet, &p);
    ck_assert_str_eq(p.why, "the mock does not start");
    down();
}
END_TEST

/* A replica that takes nothing is left alone for a while, not asked over and over. */
START_TEST(test_refuses)
{
    struct request r;
    up("{'model':'m1','replicas':1,'batching':{'max_batch_size':1}}");
    struct mock *m = rig_mock(&rig, NULL, 0);
    submit(&r);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(m->count, 1);
        struct serve_item *item = m->items[--m->count];
        item->lost(item->ctx, false, "refused");
        serve_fleet_tick(fleet);
        ck_assert_int_eq(m->count, 0);
        pass(100 * MS);
    }
    answer_all();
    ck_assert(r.ends == 1 && r.status == 200);
    down();
}
END_TEST

START_TEST(test_health)
{
    up("{'model':'m1','replicas':1,'health_check':{'period':1000000000,'misses':3}}");
    struct mock *m = rig_mock(&rig, NULL, 0);
    m->ill = true;
    char *id = rwf_xstrdup(m->id);
    pass(2500 * MS);
    ck_assert_str_eq(rig_mock(&rig, NULL, 0)->id, id); /* two misses are no death */
    pass(1500 * MS);
    ck_assert_int_eq(rig_count(&rig, NULL), 1);
    ck_assert_str_ne(rig_mock(&rig, NULL, 0)->id, id);
    free(id);
    down();
}
END_TEST

/* --- how many --- */

START_TEST(test_scale)
{
    struct request r[4];
    up("{'model':'m1','replicas':1,'max_ongoing_requests':2}");
    serve_fleet_scale(fleet, 3, "by hand");
    pass(0);
    ck_assert_int_eq(rig_count(&rig, NULL), 3);
    for (int i = 0; i < 4; i++)
        submit(&r[i]);
    serve_fleet_scale(fleet, 1, "by hand");
    /* They finish what they have. */
    int at = count_at(NULL);
    ck_assert_int_eq(at, 4);
    answer_all();
    pass(1 * S);
    ck_assert_int_eq(rig_count(&rig, NULL), 1);
    for (int i = 0; i < 4; i++)
        ck_assert(r[i].ends == 1 && r[i].status == 200);
    ck_assert_int_eq(rig_events(&rig, "serve.scaled"), 2);
    down();
}
END_TEST

START_TEST(test_zero)
{
    struct request r[3];
    up("{'model':'m1','autoscaling':{'min_replicas':0,'initial_replicas':0,'max_replicas':4,'downscale_"
       "delay':5000000000,"
       "'downscale_to_zero_delay':5000000000,'look_back_period':2000000000},'max_"
       "ongoing_requests':4}");
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(rig_count(&rig, NULL), 0);
        submit(&r[0]);
        submit(&r[1]);
        ck_assert_int_eq(rig_count(&rig, NULL), 1); /* at once, before any tick */
        rig_turn(&rig);
        ck_assert_int_eq(count_at(NULL), 2); /* and they go as soon as it is ready */
        answer_all();
        ck_assert(r[0].ends == 1 && r[0].status == 200 && r[1].status == 200);
        pass(30 * S);
    }
    down();
}
END_TEST

/* --- versions --- */

START_TEST(test_update)
{
    struct request r[64];
    struct serve_progress p;
    int n = 0;
    up("{'model':'m1','replicas':2,'max_ongoing_requests':8,"
       "'batching':{'max_batch_size':1}}");
    for (; n < 8; n++)
        submit(&r[n]);
    begin("{'model':'m2','replicas':2,'max_ongoing_requests':8,"
          "'batching':{'max_batch_size':1}}");
    pass(100 * MS);
    serve_fleet_progress(fleet, &p);
    ck_assert_int_eq(p.healthy, 2);
    for (; n < 16; n++)
        submit(&r[n]);
    ck_assert_int_eq(count_at("m2"), 0); /* not before it is told so */
    serve_fleet_weight(fleet, 0.5);
    answer_all();
    for (; n < 48; n++)
        submit(&r[n]);
    ck_assert_int_gt(count_at("m2"), 4);
    ck_assert_int_gt(count_at("m1"), 4);
    serve_fleet_roll(fleet);
    pass(100 * MS);
    serve_fleet_commit(fleet);
    for (; n < 64; n++)
        submit(&r[n]);
    for (int i = 0; i < 10; i++) {
        answer_all();
        pass(100 * MS);
    }
    for (int i = 0; i < n; i++)
        ck_assert_msg(r[i].ends == 1 && r[i].status == 200, "%d: %d %s", i, r[i].status,
                      r[i].why);
    ck_assert_int_eq(rig_count(&rig, "m1"), 0);
    ck_assert_int_eq(rig_count(&rig, "m2"), 2);
    down();
}
END_TEST

START_TEST(test_abort)
{
    struct request r;
    struct serve_progress p;
    up("{'model':'m1','replicas':2}");
    rig.bad_version = "m2";
    begin("{'model':'m2','replicas':3}");
    pass(5 * S);
    serve_fleet_progress(fleet, &p);
    ck_assert(p.failed);
    ck_assert_str_eq(p.why, "it does not come up");
    serve_fleet_abort(fleet);
    pass(1 * S);
    ck_assert_int_eq(rig_count(&rig, "m1"), 2);
    ck_assert_int_eq(rig_count(&rig, "m2"), 0);
    submit(&r);
    answer_all();
    ck_assert_int_eq(r.status, 200);
    down();
}
END_TEST

static char configured[200];

static void on_configured(void *ctx, const char *wrong)
{
    (void)ctx;
    snprintf(configured, sizeof(configured), "%s", wrong != NULL ? wrong : "ok");
}

START_TEST(test_user_config)
{
    up("{'model':'m1','replicas':2,'user_config':{'a':1}}");
    struct mock *m = rig_mock(&rig, NULL, 0);
    for (int i = 0; i < 2; i++) {
        struct serve_app *a = rig_app(
            "app", i == 0 ? "{'model':'m1','replicas':3,'user_config':{'a':2}}"
                          : "{'model':'m1','replicas':3,'user_config':{'a':3}}");
        struct serve_generation *g = serve_generation_create(a);
        rig.refuses = i == 0 ? NULL : "a is too large";
        serve_fleet_adjust(fleet, g, &a->deployments[0], on_configured, NULL);
        serve_generation_unref(g);
        pass(100 * MS);
        if (i == 0)
            ck_assert_str_eq(configured, "ok");
        else
            ck_assert_ptr_nonnull(strstr(configured, "a is too large"));
        ck_assert_int_eq(rig_count(&rig, NULL), 3);
        ck_assert_int_eq(m->configures, i + 1); /* the same replica as before */
        ck_assert_int_eq(json_integer_value(json_object_get(m->config, "a")), 2);
    }
    down();
}
END_TEST

/* --- all at once, by chance --- */

enum { JOBS = 3000 };
static struct request many[JOBS];

static void chance_step(uint64_t *chance, int *submitted, const char **version)
{
    uint64_t x = serve_random(chance) >> 20;
    int alive = rig_count(&rig, NULL);
    struct mock *m =
        alive > 0 ? rig_mock(&rig, NULL, (int)(x / 64 % (unsigned)alive)) : NULL;
    switch (x % 16) {
    case 0:
        pass((int64_t)(x / 64 % 300) * MS);
        break;
    case 1:
        if (m != NULL && x / 64 % 4 == 0)
            mock_die(m, x / 256 % 2);
        break;
    case 2:
        if (*submitted > 0)
            serve_fleet_cancel(fleet, &many[x / 64 % (unsigned)*submitted].job);
        break;
    case 3:
        serve_fleet_scale(fleet, (int)(x / 64 % 5), "by chance");
        break;
    case 4:
        if (!serve_fleet_updating(fleet)) {
            *version = (*version)[1] == '1' ? "m2" : "m1";
            begin((*version)[1] == '1' ? "{'model':'m1','replicas':3,'idempotent':true}"
                                       : "{'model':'m2','replicas':2}");
        } else if (x / 64 % 2 == 0) {
            serve_fleet_roll(fleet);
        } else if (x / 128 % 2 == 0) {
            serve_fleet_commit(fleet);
        } else {
            serve_fleet_abort(fleet);
        }
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        if (m != NULL && m->count > 0)
            mock_status(m, (int)(x / 64 % (unsigned)m->count),
                        x / 1024 % 8 ? 200 : 500);
        break;
    default:
        if (*submitted < JOBS)
            submit(&many[(*submitted)++]);
    }
}

START_TEST(test_chance)
{
    uint64_t chance = (uint64_t)_i + 7;
    const char *version = "m1";
    int submitted = 0, open = 0;
    up("{'model':'m1','replicas':2,'idempotent':true,'retries':3}");
    for (int i = 0; i < JOBS * 2; i++)
        chance_step(&chance, &submitted, &version);
    if (serve_fleet_updating(fleet))
        serve_fleet_commit(fleet);
    serve_fleet_scale(fleet, 2, "the end");
    for (int i = 0; i < 400; i++) {
        pass(100 * MS);
        answer_all();
    }
    ck_assert_uint_eq(serve_fleet_ongoing(fleet), 0);
    for (int i = 0; i < submitted; i++) {
        ck_assert_int_le(many[i].ends, 1);
        open += many[i].ends == 0;
    }
    struct serve_metrics_row row;
    serve_fleet_row(fleet, &row);
    /* Those without an end are those that were cancelled. */
    ck_assert_uint_eq((uint64_t)open, row.m->gone);
    ck_assert_uint_eq(row.m->requests + row.m->gone, (uint64_t)submitted);
    down();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_deployment");
    TCase *t = tcase_create("deployment");
    rwf_mem_init();
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_requests);
    tcase_add_test(t, test_full);
    tcase_add_test(t, test_deadlines);
    tcase_add_test(t, test_cancel);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_batches);
    tcase_add_loop_test(t, test_death, 0, (int)RWF_COUNT(deaths));
    tcase_add_test(t, test_all_dead);
    tcase_add_test(t, test_backoff);
    tcase_add_test(t, test_refuses);
    tcase_add_test(t, test_health);
    tcase_add_test(t, test_scale);
    tcase_add_test(t, test_zero);
    tcase_add_test(t, test_update);
    tcase_add_test(t, test_abort);
    tcase_add_test(t, test_user_config);
    tcase_add_loop_test(t, test_chance, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
