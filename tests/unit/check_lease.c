/* SPDX-License-Identifier: Apache-2.0
 *
 * Leases against a model: jobs, asks, releases, nodes and groups from a seed; what is
 * granted must be there and within quotas, what is recalled must be allowed to, and
 * when nothing more is decided nothing more can be.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "schedule/lease.h"

/* ck_assert tells the parent process each time: too slow for millions. */
#define must(cond)                                                                     \
    do {                                                                               \
        if (!(cond))                                                                   \
            ck_abort_msg("%s", #cond);                                                 \
    } while (0)

static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % below;
}

static struct schedule_machine plain_node(const char *name, double cpu, int gpus)
{
    return (struct schedule_machine){
        .name = name, .cpu = cpu, .memory = 1000, .gpu_count = gpus};
}

static struct schedule_ask plain_ask(uint64_t id, uint64_t job, double cpu, double gpu,
                                     uint32_t wanted)
{
    return (struct schedule_ask){.id = id,
                                 .job = job,
                                 .client = id * 10,
                                 .need = {.cpu = cpu, .gpu = gpu},
                                 .bundle = -1,
                                 .wanted = wanted,
                                 .prefer = SCHEDULE_NO_NODE};
}

static void add_job(struct schedule_leases *l, uint64_t id, int priority, double weight)
{
    struct schedule_job job = {
        .id = id, .name = "job", .priority = priority, .weight = weight};
    schedule_leases_job_add(l, &job);
}

static void ask(struct schedule_leases *l, const struct schedule_ask *a)
{
    struct rwf_err err = RWF_ERR_INIT;
    int result = schedule_leases_ask(l, a, 0, &err);
    ck_assert_msg(result == 0, "%s", err.text);
}

/* --- small cases --- */

START_TEST(grants_up_to_what_is_wanted)
{
    struct schedule_machine m = plain_node("one", 4, 0);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    struct schedule_lease_view v;
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(5, 1, 1, 0, 2);
    ask(l, &a);
    for (uint64_t i = 1; i <= 2; i++) {
        struct schedule_lease_decision d = schedule_leases_next(l, 7);
        ck_assert_int_eq(d.verb, SCHEDULE_LEASE_GRANT);
        ck_assert_uint_eq(d.lease, i);
        ck_assert_uint_eq(d.ask, 5);
        ck_assert_uint_eq(d.client, 50);
        ck_assert_uint_eq(d.node, 0);
    }
    ck_assert_int_eq(schedule_leases_next(l, 7).verb, SCHEDULE_LEASE_NONE);
    ck_assert(schedule_leases_want(l, 5, 9, 8));
    ck_assert_int_eq(schedule_leases_next(l, 8).verb, SCHEDULE_LEASE_GRANT);
    ck_assert_int_eq(schedule_leases_next(l, 8).verb, SCHEDULE_LEASE_GRANT);
    ck_assert_int_eq(schedule_leases_next(l, 8).verb, SCHEDULE_LEASE_NONE);
    char *why = schedule_leases_why(l, 5, 8);
    ck_assert_str_eq(why, "waits for 1 of 4 cpu");
    free(why);
    ck_assert(schedule_leases_release(l, 2, 9));
    ck_assert(!schedule_leases_release(l, 2, 9));
    ck_assert_uint_eq(schedule_leases_next(l, 9).lease, 5);
    ck_assert(schedule_leases_view(l, 5, &v));
    ck_assert_int_eq(v.since, 9);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(refuses_what_no_node_can_hold)
{
    struct schedule_machine small = plain_node("small", 4, 1),
                            large = plain_node("large", 8, 2);
    struct schedule_cluster *c = schedule_cluster_of(&small);
    schedule_cluster_add(c, &large);
    struct schedule_leases *l = schedule_leases_create(c);
    struct rwf_err err = RWF_ERR_INIT;
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(5, 1, 1, 4, 1);
    ck_assert_int_eq(schedule_leases_ask(l, &a, 0, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_msg(strstr(err.text, "large, has 2 (2 missing)") != NULL, "%s", err.text);
    a.may_wait = true;
    ask(l, &a);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    struct schedule_machine huge = plain_node("huge", 8, 4);
    schedule_cluster_add(c, &huge);
    struct schedule_lease_decision d = schedule_leases_next(l, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_LEASE_GRANT);
    ck_assert_uint_eq(d.gpus, 15);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

/* How many of each job's leases there are once all is settled; every lease lasts one
 * round, recalled ones are given back at once. */
static void settle(struct schedule_leases *l, int held[4])
{
    for (;;) {
        struct schedule_lease_decision d = schedule_leases_next(l, 0);
        if (d.verb == SCHEDULE_LEASE_NONE)
            return;
        if (d.verb == SCHEDULE_LEASE_GRANT) {
            held[d.job]++;
        } else if (d.verb == SCHEDULE_LEASE_RECALL) {
            held[d.job]--;
            schedule_leases_release(l, d.lease, 0);
        }
    }
}

START_TEST(jobs_of_one_priority_share_by_weight)
{
    struct schedule_machine m = plain_node("one", 40, 0);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    int held[4] = {0};
    add_job(l, 1, 0, 1);
    add_job(l, 2, 0, 3);
    struct schedule_ask a = plain_ask(1, 1, 1, 0, 1000),
                        b = plain_ask(2, 2, 1, 0, 1000);
    ask(l, &a);
    settle(l, held);
    ck_assert_int_eq(held[1], 40);
    ask(l, &b); /* comes late: gets its part by recalls */
    settle(l, held);
    ck_assert_int_eq(held[1], 10);
    ck_assert_int_eq(held[2], 30);
    ck_assert_double_eq_tol(schedule_leases_share(l, 2), 0.75, 1e-9);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(dominant_resources_count)
{
    /* 3x + y <= 18 cores, x / 6 = y / 9: the example of the paper */
    struct schedule_machine m = plain_node("one", 18, 9);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    int held[4] = {0};
    add_job(l, 1, 0, 1);
    add_job(l, 2, 0, 1);
    struct schedule_ask a = plain_ask(1, 1, 3, 0, 1000),
                        b = plain_ask(2, 2, 1, 1, 1000);
    ask(l, &a);
    ask(l, &b);
    settle(l, held);
    ck_assert_int_eq(held[1], 4);
    ck_assert_int_eq(held[2], 6);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(priority_ends_what_may_be_retried)
{
    struct schedule_machine m = plain_node("one", 4, 0);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    int held[4] = {0};
    add_job(l, 1, 0, 1);
    add_job(l, 2, 5, 1);
    struct schedule_ask a = plain_ask(1, 1, 1, 0, 4), b = plain_ask(2, 2, 2, 0, 1);
    ask(l, &a); /* not retriable */
    settle(l, held);
    ask(l, &b);
    struct schedule_lease_decision d = schedule_leases_next(l, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_LEASE_RECALL); /* when convenient */
    ck_assert(!d.kill);
    d = schedule_leases_next(l, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_LEASE_RECALL);
    ck_assert(!d.kill);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    char *why = schedule_leases_why(l, 2, 0);
    ck_assert_str_eq(why, "waits for 2 of 4 cpu; 2 leases are recalled for it");
    free(why);
    schedule_leases_destroy(l);

    l = schedule_leases_create(c);
    add_job(l, 1, 0, 1);
    add_job(l, 2, 5, 1);
    a.retriable = true;
    ask(l, &a);
    held[1] = 0;
    settle(l, held);
    ck_assert_int_eq(held[1], 4);
    ask(l, &b);
    d = schedule_leases_next(l, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_LEASE_RECALL);
    ck_assert(d.kill);
    ck_assert_uint_eq(d.lease, 4); /* the youngest */
    ck_assert(schedule_leases_next(l, 0).kill);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    schedule_leases_release(l, 4, 0);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    schedule_leases_release(l, 3, 0);
    d = schedule_leases_next(l, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_LEASE_GRANT);
    ck_assert_uint_eq(d.job, 2);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(blocked_lends_its_cores)
{
    struct schedule_machine m = plain_node("one", 2, 0);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    int held[4] = {0};
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(1, 1, 2, 0, 3);
    ask(l, &a);
    settle(l, held);
    ck_assert_int_eq(held[1], 1);
    ck_assert(schedule_leases_block(l, 1, true, 0));
    settle(l, held);
    ck_assert_int_eq(held[1], 2);
    ck_assert(schedule_leases_block(l, 1, false, 0));
    schedule_leases_release(l, 2, 0); /* pays the debt */
    held[1]--;
    settle(l, held);
    ck_assert_int_eq(held[1], 1);
    schedule_leases_release(l, 1, 0);
    settle(l, held);
    ck_assert_int_eq(held[1], 2);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(a_large_ask_does_not_starve)
{
    struct schedule_cluster *c = schedule_cluster_create();
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        struct schedule_machine m = plain_node(name, 4, 0);
        schedule_cluster_add(c, &m);
    }
    struct schedule_leases *l = schedule_leases_create(c);
    add_job(l, 1, 0, 1);
    add_job(l, 2, 0, 1);
    struct schedule_ask small = plain_ask(1, 1, 1, 0, 100000),
                        large = plain_ask(2, 2, 4, 0, 1);
    struct schedule_job job = {.id = 1, .name = "small", .weight = 1000};
    schedule_leases_job_set(l, &job); /* its share is always the smaller one */
    ask(l, &small);
    uint64_t queue[4096];
    size_t first = 0, count = 0;
    for (int rounds = 0;; rounds++) {
        ck_assert_int_lt(rounds, 3000);
        struct schedule_lease_decision d = schedule_leases_next(l, 0);
        if (rounds == 20)
            ask(l, &large);
        if (d.verb == SCHEDULE_LEASE_GRANT && d.job == 2)
            break;
        if (d.verb == SCHEDULE_LEASE_GRANT)
            queue[count++] = d.lease;
        else if (d.verb == SCHEDULE_LEASE_NONE)
            schedule_leases_release(l, queue[first++], 0);
    }
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(a_node_is_asked_for_by_its_name)
{
    struct schedule_cluster *c = schedule_cluster_create();
    struct schedule_leases *l = schedule_leases_create(c);
    static const char *const key[] = {"node"};
    add_job(l, 1, 0, 1);
    for (uint64_t i = 0; i < 100; i++) { /* more names than the trees have marks */
        char name[16];
        snprintf(name, sizeof(name), "n%u", (unsigned)i);
        struct schedule_machine m = plain_node(name, 2, i % 2 ? 1 : 0);
        schedule_cluster_add(c, &m);
    }
    for (uint64_t i = 0; i < 100; i++) {
        char name[16];
        const char *value[] = {name};
        snprintf(name, sizeof(name), "n%u", (unsigned)(99 - i));
        struct schedule_ask a = plain_ask(i + 1, 1, 1, 0, 3);
        a.need.label_keys = key;
        a.need.label_values = value;
        a.need.label_count = 1;
        ask(l, &a);
        for (int k = 0; k < 2; k++) {
            struct schedule_lease_decision d = schedule_leases_next(l, 0);
            ck_assert_int_eq(d.verb, SCHEDULE_LEASE_GRANT);
            ck_assert_uint_eq(d.node, 99 - i);
        }
        ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    }
    char *why = schedule_leases_why(l, 1, 0);
    ck_assert_str_eq(why, "waits for 1 of 2 cpu on n99, the nearest of 100 nodes");
    free(why);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(groups_are_whole_or_not)
{
    struct schedule_cluster *c = schedule_cluster_create();
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        struct schedule_machine m = plain_node(name, 4, 2);
        schedule_cluster_add(c, &m);
    }
    struct schedule_leases *l = schedule_leases_create(c);
    struct schedule_need bundle = {.cpu = 4, .gpu = 1};
    struct schedule_need bundles[3] = {bundle, bundle, bundle};
    struct schedule_group g = {.id = 9,
                               .job = 1,
                               .bundles = bundles,
                               .bundle_count = 3,
                               .placement = PLAN_DIFFERENT_NODES};
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(1, 1, 1, 0, 1), b = plain_ask(2, 1, 1, 0.5, 9);
    ask(l, &a);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GRANT);
    ck_assert_int_eq(schedule_leases_group_add(l, &g, 0, NULL), 0);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    ck_assert_uint_eq(schedule_leases_group_node(l, 9, 0), SCHEDULE_NO_NODE);
    schedule_leases_want(l, 1, 0, 0);
    schedule_leases_release(l, 1, 0);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GROUP_READY);
    /* inside: two halves of the bundle's one card, of nine wanted in bundle 1 */
    b.group = 9;
    b.bundle = 1;
    ask(l, &b);
    uint64_t gpus = 0;
    for (int i = 0; i < 2; i++) {
        struct schedule_lease_decision d = schedule_leases_next(l, 0);
        ck_assert_int_eq(d.verb, SCHEDULE_LEASE_GRANT);
        ck_assert_int_eq(d.bundle, 1);
        ck_assert_uint_eq(d.node, schedule_leases_group_node(l, 9, 1));
        ck_assert_double_eq_tol(d.gpu_share, 0.5, 1e-9);
        ck_assert(gpus == 0 || gpus == d.gpus);
        gpus = d.gpus;
    }
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    char *why = schedule_leases_why(l, 2, 0);
    ck_assert_str_eq(why, "waits for room in bundle 1 of group 9");
    free(why);
    /* its node dies: those leases are lost, the bundle waits for another node */
    uint32_t node = schedule_leases_group_node(l, 9, 1);
    schedule_cluster_remove(c, node);
    schedule_leases_node_gone(l, node, 0);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_LOST);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_LOST);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GROUP_LOST);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    struct schedule_machine m = plain_node("new", 4, 2);
    schedule_cluster_add(c, &m);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GROUP_READY);
    struct schedule_lease_decision d = schedule_leases_next(l, 0);
    ck_assert_int_eq(d.verb, SCHEDULE_LEASE_GRANT);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GRANT);
    /* removed: its leases are recalled, and all is free when they are back */
    ck_assert(schedule_leases_group_remove(l, 9, 0));
    for (int i = 0; i < 2; i++) {
        d = schedule_leases_next(l, 0);
        ck_assert_int_eq(d.verb, SCHEDULE_LEASE_RECALL);
        ck_assert(d.kill);
        schedule_leases_release(l, d.lease, 0);
    }
    struct schedule_totals t;
    schedule_cluster_totals(c, &t);
    ck_assert_double_eq_tol(t.cpu_used, 0, 1e-9);
    ck_assert_double_eq_tol(t.gpu_used, 0, 1e-9);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

/* Where the inputs are counts when there is room and the policy does not say otherwise.
 */
static const struct prefer_case {
    const char *what;
    uint32_t bundles;
    enum plan_placement placement;
    double cpu;
    const char *zone; /* that the bundles must be in; or NULL */
    uint32_t taken;   /* of node 2's 4 cores */
    int on[3];        /* bundles on each node afterwards */
} prefer_cases[] = {
    {"one that packs", 1, PLAN_PACK, 1, NULL, 0, {0, 0, 1}},
    {"with some room", 1, PLAN_PACK, 1, NULL, 3, {0, 0, 1}},
    {"it is full", 1, PLAN_PACK, 1, NULL, 4, {1, 0, 0}},
    {"its label is another", 1, PLAN_PACK, 1, "a", 0, {1, 0, 0}},
    {"a gang that packs", 4, PLAN_PACK, 1, NULL, 0, {0, 0, 4}},
    {"a gang on one node", 3, PLAN_SAME_NODE, 1, NULL, 1, {0, 0, 3}},
    {"no room for all of it", 4, PLAN_SAME_NODE, 1, NULL, 1, {4, 0, 0}},
    {"more than it holds", 5, PLAN_PACK, 1, NULL, 0, {1, 0, 4}},
    {"a gang of another label", 4, PLAN_PACK, 1, "a", 0, {4, 0, 0}},
    {"spread wins", 3, PLAN_SPREAD, 1, NULL, 0, {1, 1, 1}},
    {"different nodes win", 3, PLAN_DIFFERENT_NODES, 1, NULL, 0, {1, 1, 1}},
};

START_TEST(groups_prefer_the_node_of_their_inputs)
{
    const struct prefer_case *k = &prefer_cases[_i];
    static const char *const zone = "zone", *const names[] = {"n0", "n1", "n2"};
    struct schedule_cluster *c = schedule_cluster_create();
    for (int i = 0; i < 3; i++) {
        const char *value = i == 2 ? "b" : "a";
        struct schedule_machine m = plain_node(names[i], 4, 0);
        m.label_keys = (const char **)(uintptr_t)&zone;
        m.label_values = &value;
        m.label_count = 1;
        schedule_cluster_add(c, &m);
    }
    struct schedule_leases *l = schedule_leases_create(c);
    struct schedule_need bundles[8];
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(1, 1, 1, 0, k->taken);
    a.prefer = 2;
    ask(l, &a);
    for (uint32_t i = 0; i < k->taken; i++)
        ck_assert_uint_eq(schedule_leases_next(l, 0).node, 2);
    for (uint32_t i = 0; i < k->bundles; i++)
        bundles[i] =
            (struct schedule_need){.cpu = k->cpu,
                                   .label_keys = (const char **)(uintptr_t)&zone,
                                   .label_values = (const char **)&k->zone,
                                   .label_count = k->zone != NULL};
    struct schedule_group g = {.id = 9,
                               .job = 1,
                               .bundles = bundles,
                               .bundle_count = k->bundles,
                               .placement = k->placement,
                               .preferred = true,
                               .prefer = 2};
    ck_assert_int_eq(schedule_leases_group_add(l, &g, 0, NULL), 0);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GROUP_READY);
    int on[3] = {0};
    for (uint32_t i = 0; i < k->bundles; i++)
        on[schedule_leases_group_node(l, 9, (int)i)]++;
    for (int i = 0; i < 3; i++)
        ck_assert_msg(on[i] == k->on[i], "%s: %d on node %d", k->what, on[i], i);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

/* First the client's node; when that is full the one that has what it reads; when that
 * is full, too, any other. */
START_TEST(asks_go_near_when_their_own_node_is_full)
{
    static const char *const names[] = {"n0", "n1", "n2"};
    static const uint32_t expected[] = {0, 2, 2, 1, 1};
    struct schedule_cluster *c = schedule_cluster_create();
    for (int i = 0; i < 3; i++) {
        struct schedule_machine m = plain_node(names[i], i == 0 ? 1 : 2, 0);
        schedule_cluster_add(c, &m);
    }
    struct schedule_leases *l = schedule_leases_create(c);
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(1, 1, 1, 0, 5), spread = plain_ask(2, 1, 1, 0, 1);
    a.prefer = 0;
    ask(l, &a);
    schedule_leases_near(l, 1, 2);
    for (size_t i = 0; i < RWF_COUNT(expected); i++)
        ck_assert_uint_eq(schedule_leases_next(l, 0).node, expected[i]);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    /* anywhere again, and a node that is not there (any more) */
    schedule_leases_near(l, 1, SCHEDULE_NO_NODE);
    schedule_leases_release(l, 2, 0); /* n2's */
    ck_assert_uint_eq(schedule_leases_next(l, 0).node, 2);
    schedule_leases_near(l, 1, 77);
    schedule_leases_release(l, 3, 0);
    ck_assert_uint_eq(schedule_leases_next(l, 0).node, 2);
    /* one that spreads does not care */
    schedule_leases_drop(l, 1);
    for (uint64_t i = 1; i <= 7; i++)
        schedule_leases_release(l, i, 0);
    spread.placement = PLAN_SPREAD;
    ask(l, &spread);
    schedule_leases_near(l, 2, 2);
    ck_assert_uint_eq(schedule_leases_next(l, 0).node, 0);
    schedule_leases_near(l, 99, 2); /* no such ask */
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(a_group_is_refused_when_it_can_never_be_whole)
{
    struct schedule_machine m = plain_node("one", 9, 0);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    struct rwf_err err = RWF_ERR_INIT;
    struct schedule_need mixed[3] = {{.cpu = 4}, {.cpu = 1}, {.cpu = 4}},
                         alike[3] = {{.cpu = 4}, {.cpu = 4}, {.cpu = 4}};
    struct schedule_group g = {.id = 1, .job = 1, .bundles = alike, .bundle_count = 3};
    add_job(l, 1, 0, 1);
    ck_assert_int_eq(schedule_leases_group_add(l, &g, 0, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_msg(strstr(err.text, "holds 2 (1 missing)") != NULL, "%s",
                  err.text);
    g.bundles = mixed;
    ck_assert_int_eq(schedule_leases_group_add(l, &g, 0, &err), 0);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_GROUP_READY);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(a_group_of_higher_priority_ends_what_it_needs)
{
    struct schedule_cluster *c = schedule_cluster_create();
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        struct schedule_machine m = plain_node(name, 4, 0);
        schedule_cluster_add(c, &m);
    }
    struct schedule_leases *l = schedule_leases_create(c);
    int held[4] = {0}, killed = 0;
    add_job(l, 1, 0, 1);
    add_job(l, 2, 1, 1);
    struct schedule_ask a = plain_ask(1, 1, 1, 0, 12);
    a.retriable = true;
    ask(l, &a);
    settle(l, held);
    ck_assert_int_eq(held[1], 12);
    struct schedule_need bundles[2] = {{.cpu = 2}, {.cpu = 2}};
    struct schedule_group g = {.id = 1,
                               .job = 2,
                               .bundles = bundles,
                               .bundle_count = 2,
                               .placement = PLAN_DIFFERENT_NODES};
    ck_assert_int_eq(schedule_leases_group_add(l, &g, 0, NULL), 0);
    for (;;) {
        struct schedule_lease_decision d = schedule_leases_next(l, 0);
        ck_assert_int_ne(d.verb, SCHEDULE_LEASE_NONE);
        if (d.verb == SCHEDULE_LEASE_GROUP_READY)
            break;
        ck_assert_int_eq(d.verb, SCHEDULE_LEASE_RECALL);
        ck_assert(d.kill);
        killed++;
        schedule_leases_release(l, d.lease, 0);
    }
    ck_assert_int_eq(killed, 4); /* and what they freed went to nobody else */
    ck_assert_uint_ne(schedule_leases_group_node(l, 1, 0),
                      schedule_leases_group_node(l, 1, 1));
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

START_TEST(a_restarted_head_takes_leases_over)
{
    struct schedule_machine m = plain_node("one", 4, 4);
    struct schedule_cluster *c = schedule_cluster_of(&m);
    struct schedule_leases *l = schedule_leases_create(c);
    add_job(l, 1, 0, 1);
    struct schedule_ask a = plain_ask(1, 1, 1, 1, 2);
    ask(l, &a);
    ck_assert(schedule_leases_restore(l, 77, 1, 0, 4));
    ck_assert(!schedule_leases_restore(l, 78, 1, 0, 4)); /* that card is taken */
    struct schedule_lease_decision d = schedule_leases_next(l, 0);
    ck_assert_uint_eq(d.lease, 78);
    ck_assert_uint_eq(d.gpus, 1);
    ck_assert_int_eq(schedule_leases_next(l, 0).verb, SCHEDULE_LEASE_NONE);
    schedule_leases_destroy(l);
    schedule_cluster_destroy(c);
}
END_TEST

/* --- many of them, from a seed --- */

#define NODES 6
#define JOBS 4
#define ASKS 24
#define LEASES 400

struct model_ask {
    bool used, retriable;
    int job, cpu, gpu, priority; /* hundredths */
    uint32_t wanted, held;
};

struct model_lease {
    uint64_t id;
    int ask;
    uint32_t node;
    uint64_t gpus;
    bool blocked, recalled;
};

struct model {
    struct schedule_cluster *c;
    struct schedule_leases *l;
    bool there[NODES], debt[NODES];
    int cpu[NODES], gpus[NODES], cpu_used[NODES], gpu_used[NODES][8];
    struct {
        int priority, quota, used;
    } jobs[JOBS];
    struct model_ask asks[ASKS];
    struct model_lease leases[LEASES];
    uint64_t next_id, ids[ASKS], trace;
};

static void note(struct model *m, uint64_t what)
{
    m->trace = (m->trace ^ what) * 1099511628211ULL;
}

static void add_node(struct model *m, int i)
{
    static const int gpus[] = {0, 1, 2, 4};
    char name[16];
    snprintf(name, sizeof(name), "n%d", i);
    m->cpu[i] = 200 * (1 + (int)rnd(4));
    m->gpus[i] = gpus[rnd(4)];
    m->there[i] = true;
    m->debt[i] = false;
    struct schedule_machine machine = plain_node(name, m->cpu[i] / 100.0, m->gpus[i]);
    must(schedule_cluster_add(m->c, &machine) == (uint32_t)i);
}

static bool fits(const struct model *m, int node, const struct model_ask *a)
{
    int whole = 0, most = 0;
    for (int g = 0; g < m->gpus[node]; g++) {
        int left = 100 - m->gpu_used[node][g];
        whole += left == 100;
        most = left > most ? left : most;
    }
    int left = m->cpu[node] - m->cpu_used[node];
    return m->there[node] && a->cpu <= (left > 0 ? left : 0) &&
           (a->gpu >= 100 ? a->gpu / 100 <= whole : a->gpu <= most);
}

static void count(struct model *m, const struct model_lease *x, int sign)
{
    const struct model_ask *a = &m->asks[x->ask];
    if (!x->blocked)
        m->cpu_used[x->node] += sign * a->cpu;
    m->jobs[a->job].used += sign * a->cpu;
    for (int g = 0; g < 8; g++)
        if (x->gpus & 1ULL << g) {
            m->gpu_used[x->node][g] += sign * (a->gpu < 100 ? a->gpu : 100);
            must(g < m->gpus[x->node] && m->gpu_used[x->node][g] <= 100);
        }
}

static struct model_lease *lease_find(struct model *m, uint64_t id)
{
    for (int i = 0; i < LEASES; i++)
        if (m->leases[i].id == id)
            return &m->leases[i];
    return NULL;
}

static int ask_find(const struct model *m, uint64_t id)
{
    for (int i = 0; i < ASKS; i++)
        if (m->ids[i] == id && id != 0)
            return i;
    return -1;
}

static void forget(struct model *m, struct model_lease *x)
{
    struct model_ask *a = &m->asks[x->ask];
    count(m, x, -1);
    x->id = 0;
    if (--a->held == 0 && !a->used)
        m->ids[x->ask] = 0;
}

static void on_grant(struct model *m, const struct schedule_lease_decision *d)
{
    struct model_lease *x = lease_find(m, 0);
    int ask = ask_find(m, d->ask);
    must(x != NULL && ask >= 0);
    struct model_ask *a = &m->asks[ask];
    must(a->used && a->held < a->wanted);
    must(fits(m, (int)d->node, a));
    *x = (struct model_lease){d->lease, ask, d->node, d->gpus, false, false};
    a->held++;
    count(m, x, 1);
    must(m->jobs[a->job].quota == 0 || m->jobs[a->job].used <= m->jobs[a->job].quota);
}

static void on_recall(struct model *m, const struct schedule_lease_decision *d)
{
    struct model_lease *x = lease_find(m, d->lease);
    must(x != NULL && (!x->recalled || d->kill));
    const struct model_ask *a = &m->asks[x->ask];
    bool higher = false, other = false;
    for (int i = 0; i < ASKS; i++) {
        const struct model_ask *b = &m->asks[i];
        if (!b->used || b->held >= b->wanted)
            continue;
        higher |= b->priority > a->priority;
        other |= b->job != a->job;
    }
    must(d->kill ? higher && a->retriable : higher || other);
    x->recalled = true;
    if (d->kill || rnd(2)) {
        schedule_leases_release(m->l, d->lease, 0);
        forget(m, x);
    }
}

static void all_is_granted(struct model *m)
{
    struct schedule_node_view v;
    for (int i = 0; i < ASKS; i++) {
        const struct model_ask *a = &m->asks[i];
        const int quota = m->jobs[a->job].quota, used = m->jobs[a->job].used;
        if (!a->used || a->held >= a->wanted || (quota > 0 && used + a->cpu > quota))
            continue;
        for (int n = 0; n < NODES; n++) {
            schedule_cluster_view(m->c, (uint32_t)n, &v);
            must(v.held || !fits(m, n, a));
        }
    }
}

static void act(struct model *m)
{
    for (int rounds = 0;; rounds++) {
        struct schedule_lease_decision d = schedule_leases_next(m->l, 0);
        note(m, d.verb * 31 + d.lease * 1009 + d.node);
        must(rounds < 5000);
        if (d.verb == SCHEDULE_LEASE_NONE)
            break;
        if (d.verb == SCHEDULE_LEASE_GRANT)
            on_grant(m, &d);
        else if (d.verb == SCHEDULE_LEASE_RECALL)
            on_recall(m, &d);
        else
            must(d.verb == SCHEDULE_LEASE_LOST && lease_find(m, d.lease) == NULL);
    }
    all_is_granted(m);
}

static void new_ask(struct model *m)
{
    static const int gpus[] = {0, 0, 0, 0, 25, 50, 100, 200};
    for (int i = 0; i < ASKS; i++) {
        struct model_ask *a = &m->asks[i];
        if (a->used || a->held > 0)
            continue;
        *a = (struct model_ask){.used = true,
                                .retriable = rnd(2),
                                .job = (int)rnd(JOBS),
                                .cpu = 50 * (int)rnd(5),
                                .gpu = gpus[rnd(8)],
                                .wanted = rnd(6)};
        a->priority = m->jobs[a->job].priority;
        m->ids[i] = ++m->next_id;
        struct schedule_ask ask = plain_ask(m->next_id, (uint64_t)a->job + 1,
                                            a->cpu / 100.0, a->gpu / 100.0, a->wanted);
        ask.may_wait = true;
        ask.retriable = a->retriable;
        ask.placement = rnd(2) ? PLAN_SPREAD : PLAN_PACK;
        if (schedule_leases_ask(m->l, &ask, 0, NULL) != 0) { /* more than its quota */
            must(m->jobs[a->job].quota > 0 && a->cpu > m->jobs[a->job].quota);
            a->used = false;
            m->ids[i] = 0;
        }
        return;
    }
}

static void node_dies(struct model *m, int node)
{
    for (int i = 0; i < LEASES; i++)
        if (m->leases[i].id != 0 && m->leases[i].node == (uint32_t)node)
            forget(m, &m->leases[i]);
    m->there[node] = false;
    schedule_cluster_remove(m->c, (uint32_t)node);
    schedule_leases_node_gone(m->l, (uint32_t)node, 0);
}

static void drop(struct model *m, int i)
{
    must(schedule_leases_drop(m->l, m->ids[i]));
    m->asks[i].used = false;
    if (m->asks[i].held == 0)
        m->ids[i] = 0;
}

static void something(struct model *m)
{
    struct model_lease *x = &m->leases[rnd(LEASES)];
    int i = (int)rnd(ASKS);
    switch (rnd(12)) {
    case 0:
    case 1:
        new_ask(m);
        break;
    case 2:
        if (m->asks[i].used) {
            m->asks[i].wanted = rnd(8);
            must(schedule_leases_want(m->l, m->ids[i], m->asks[i].wanted, 0));
        }
        break;
    case 3:
        if (m->asks[i].used && rnd(3) == 0)
            drop(m, i);
        break;
    case 4:
        if (rnd(10) != 0)
            break;
        i = (int)rnd(NODES);
        if (m->there[i])
            node_dies(m, i);
        else
            for (i = 0; m->there[i]; i++)
                ;
        if (!m->there[i] && rnd(2)) /* the lowest free number is used again */
            for (int k = 0; k < NODES; k++)
                if (!m->there[k]) {
                    add_node(m, k);
                    break;
                }
        break;
    case 5:
        if (x->id != 0 && !x->blocked) {
            count(m, x, -1);
            x->blocked = true;
            count(m, x, 1);
            must(schedule_leases_block(m->l, x->id, true, 0));
        }
        break;
    case 6:
        if (x->id != 0 && x->blocked) {
            count(m, x, -1);
            x->blocked = false;
            count(m, x, 1);
            must(schedule_leases_block(m->l, x->id, false, 0));
        }
        break;
    default:
        if (x->id != 0) {
            must(schedule_leases_release(m->l, x->id, 0));
            forget(m, x);
        }
    }
}

static uint64_t play(unsigned seed, int steps)
{
    struct model *m = rwf_xcalloc(1, sizeof(*m));
    random_state = seed * 104729u + 5;
    m->c = schedule_cluster_create();
    m->l = schedule_leases_create(m->c);
    for (int i = 0; i < NODES; i++)
        add_node(m, i);
    for (int i = 0; i < JOBS; i++) {
        m->jobs[i].priority = (int)rnd(3);
        m->jobs[i].quota = rnd(3) == 0 ? 300 : 0;
        struct schedule_job job = {.id = (uint64_t)i + 1,
                                   .name = "job",
                                   .priority = m->jobs[i].priority,
                                   .weight = 1 + rnd(3),
                                   .cpu_quota = m->jobs[i].quota / 100.0};
        schedule_leases_job_add(m->l, &job);
    }
    for (int i = 0; i < steps; i++) {
        something(m);
        act(m);
    }
    for (uint64_t i = 1; i <= JOBS; i++)
        schedule_leases_job_end(m->l, i);
    for (int i = 0; i < LEASES; i++)
        if (m->leases[i].id != 0)
            must(schedule_leases_release(m->l, m->leases[i].id, 0));
    struct schedule_totals t;
    schedule_cluster_totals(m->c, &t);
    ck_assert_double_eq_tol(t.cpu_used, 0, 1e-6);
    ck_assert_double_eq_tol(t.gpu_used, 0, 1e-6);
    schedule_leases_destroy(m->l);
    schedule_cluster_destroy(m->c);
    uint64_t trace = m->trace;
    free(m);
    return trace;
}

START_TEST(random_jobs_are_served)
{
    for (unsigned seed = 0; seed < 40; seed++) {
        uint64_t trace = play((unsigned)_i * 40 + seed, 800);
        if (seed % 10 == 0)
            ck_assert_uint_eq(trace, play((unsigned)_i * 40 + seed, 800));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lease");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, grants_up_to_what_is_wanted);
    tcase_add_test(tc, refuses_what_no_node_can_hold);
    tcase_add_test(tc, jobs_of_one_priority_share_by_weight);
    tcase_add_test(tc, dominant_resources_count);
    tcase_add_test(tc, priority_ends_what_may_be_retried);
    tcase_add_test(tc, blocked_lends_its_cores);
    tcase_add_test(tc, a_large_ask_does_not_starve);
    tcase_add_test(tc, a_node_is_asked_for_by_its_name);
    tcase_add_test(tc, groups_are_whole_or_not);
    tcase_add_loop_test(tc, groups_prefer_the_node_of_their_inputs, 0,
                        (int)(sizeof(prefer_cases) / sizeof(prefer_cases[0])));
    tcase_add_test(tc, asks_go_near_when_their_own_node_is_full);
    tcase_add_test(tc, a_group_is_refused_when_it_can_never_be_whole);
    tcase_add_test(tc, a_group_of_higher_priority_ends_what_it_needs);
    tcase_add_test(tc, a_restarted_head_takes_leases_over);
    tcase_add_loop_test(tc, random_jobs_are_served, 0, 10);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
