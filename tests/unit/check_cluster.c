/* SPDX-License-Identifier: Apache-2.0
 *
 * Placing on many nodes against a model that looks at all of them: what the cluster
 * says fits must fit, what it says does not must not, and nothing is ever taken twice.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "schedule/cluster.h"

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

/* --- the model: sums in whole hundredths --- */

#define NODES 24
#define SHAPES 14
#define GRANTS 600
#define GANG 6

struct model_node {
    bool there, closed;
    int cpu, memory, gpus, license, zone, slots;
    int cpu_used, memory_used, license_used, grants;
    int gpu_used[8];
    bool shared[8], whole[8];
};

struct model_need {
    int cpu, memory, gpu, license, zone; /* zone: -1 any */
};

struct model_grant {
    bool used;
    uint32_t number, node, shape;
    uint64_t gpus;
};

struct model {
    struct schedule_cluster *c;
    struct model_node nodes[NODES];
    struct model_need needs[SHAPES];
    uint32_t shapes[SHAPES];
    struct model_grant grants[GRANTS];
    uint64_t trace;
};

static const char *const zones[] = {"a", "b", "c"};
static const char *const license[] = {"license"};
static const char *const zone_key[] = {"zone"};

static void add_node(struct model *m, uint32_t i)
{
    static const int cpus[] = {400, 800, 1600}, gpus[] = {0, 0, 1, 2, 4, 8};
    struct model_node *n = &m->nodes[i];
    char name[16];
    snprintf(name, sizeof(name), "n%u", i);
    *n = (struct model_node){.there = true,
                             .cpu = cpus[rnd(3)],
                             .memory = 100 * (1 + (int)rnd(4)),
                             .gpus = gpus[rnd(6)],
                             .license = rnd(2) ? 300 : 0,
                             .zone = (int)rnd(3),
                             .slots = rnd(4) == 0 ? 3 : 50};
    double amount = n->license / 100.0;
    struct schedule_machine machine = {.name = name,
                                       .cpu = n->cpu / 100.0,
                                       .memory = n->memory,
                                       .gpu_count = n->gpus,
                                       .custom_names = license,
                                       .custom_amounts = &amount,
                                       .custom_count = n->license > 0,
                                       .label_keys = zone_key,
                                       .label_values = &zones[n->zone],
                                       .label_count = 1,
                                       .slots = n->slots};
    uint32_t number = schedule_cluster_add(m->c, &machine);
    must(number == schedule_cluster_find(m->c, name));
    if (number != i) { /* numbers are used again in the order of the tree: follow */
        must(number < NODES);
        must(!m->nodes[number].there);
        m->nodes[number] = *n;
        n->there = false;
    }
}

static void add_shape(struct model *m, int i)
{
    static const int gpus[] = {0, 0, 0, 25, 30, 50, 100, 100, 200, 400};
    struct model_need *n = &m->needs[i];
    *n = (struct model_need){.cpu = (int)rnd(5) * 75,
                             .memory = (int)rnd(120),
                             .gpu = gpus[rnd(10)],
                             .license = rnd(4) == 0 ? 150 : 0,
                             .zone = rnd(4) == 0 ? (int)rnd(3) : -1};
    double amount = n->license / 100.0;
    struct schedule_need need = {.cpu = n->cpu / 100.0,
                                 .memory = n->memory,
                                 .gpu = n->gpu / 100.0,
                                 .custom_names = license,
                                 .custom_amounts = &amount,
                                 .custom_count = n->license > 0,
                                 .label_keys = zone_key,
                                 .label_values = &zones[n->zone < 0 ? 0 : n->zone],
                                 .label_count = n->zone >= 0};
    m->shapes[i] = schedule_cluster_shape(m->c, &need);
    must(m->shapes[i] == schedule_cluster_shape(m->c, &need));
}

static bool model_fits(const struct model_node *n, const struct model_need *d)
{
    int whole = 0, most = 0;
    if (!n->there || n->closed || n->grants >= n->slots ||
        (d->zone >= 0 && d->zone != n->zone))
        return false;
    for (int i = 0; i < n->gpus; i++) {
        whole += n->gpu_used[i] == 0;
        most = 100 - n->gpu_used[i] > most ? 100 - n->gpu_used[i] : most;
    }
    return d->cpu <= n->cpu - n->cpu_used && d->memory <= n->memory - n->memory_used &&
           d->license <= n->license - n->license_used &&
           (d->gpu >= 100 ? d->gpu / 100 <= whole : d->gpu <= most);
}

static void model_add(struct model_node *n, const struct model_need *d, uint64_t gpus,
                      int sign)
{
    int cards = 0;
    n->cpu_used += sign * d->cpu;
    n->memory_used += sign * d->memory;
    n->license_used += sign * d->license;
    n->grants += sign;
    for (int i = 0; i < 8; i++) {
        if (!(gpus & 1ULL << i))
            continue;
        must(i < n->gpus);
        n->gpu_used[i] += sign * (d->gpu < 100 ? d->gpu : 100);
        must(n->gpu_used[i] <= 100); /* never 1.0 + 0.25 on one card */
        cards++;
    }
    must(cards == (d->gpu == 0 ? 0 : d->gpu < 100 ? 1 : d->gpu / 100));
    must((gpus >> 8) == 0);
    must(n->cpu_used <= n->cpu);
    must(n->memory_used <= n->memory);
    must(n->license_used <= n->license);
    must(n->grants <= n->slots);
    must(n->cpu_used >= 0);
}

static bool model_any(const struct model *m, const struct model_need *d)
{
    for (int i = 0; i < NODES; i++)
        if (model_fits(&m->nodes[i], d))
            return true;
    return false;
}

static void note(struct model *m, uint64_t what)
{
    m->trace = (m->trace ^ what) * 1099511628211ULL;
}

static void keep(struct model *m, uint32_t grant, int shape)
{
    struct schedule_grant g = schedule_cluster_grant(m->c, grant);
    for (int i = 0; i < GRANTS; i++)
        if (!m->grants[i].used) {
            must(model_fits(&m->nodes[g.node], &m->needs[shape]));
            m->grants[i] =
                (struct model_grant){true, grant, g.node, (uint32_t)shape, g.gpus};
            model_add(&m->nodes[g.node], &m->needs[shape], g.gpus, 1);
            note(m, g.node * 1000003ULL + g.gpus);
            return;
        }
    ck_abort_msg("too many grants");
}

static int room(const struct model *m)
{
    int free = 0;
    for (int i = 0; i < GRANTS; i++)
        free += !m->grants[i].used;
    return free;
}

static void place_one(struct model *m)
{
    int shape = (int)rnd(SHAPES);
    uint32_t grant;
    struct schedule_claim claim = SCHEDULE_CLAIM_INIT;
    enum plan_placement placement = rnd(2) ? PLAN_SPREAD : PLAN_PACK;
    bool fits = model_any(m, &m->needs[shape]);
    if (rnd(3) == 0)
        must(fits == schedule_cluster_might(m->c, m->shapes[shape], &claim));
    bool placed =
        schedule_cluster_place(m->c, &m->shapes[shape], 1, placement, &claim, &grant);
    must(placed == fits);
    if (!placed)
        return;
    uint32_t node = schedule_cluster_grant(m->c, grant).node;
    if (m->needs[shape].gpu == 0 && m->nodes[node].gpus > 0)
        for (int i = 0; i < NODES; i++) /* only because no other fits */
            must(m->nodes[i].gpus > 0 || !model_fits(&m->nodes[i], &m->needs[shape]));
    keep(m, grant, shape);
}

static int bits(const uint32_t *nodes, int count)
{
    int different = 0;
    for (int i = 0; i < count; i++) {
        bool seen = false;
        for (int k = 0; k < i; k++)
            seen |= nodes[k] == nodes[i];
        different += !seen;
    }
    return different;
}

/* Whether one node takes all, by trying. */
static bool model_same(const struct model *m, const struct model_need *d, int count)
{
    for (int i = 0; i < NODES; i++) {
        struct model_node n = m->nodes[i];
        int done = 0;
        while (done < count && model_fits(&n, d)) {
            uint64_t gpus = 0;
            int left = d->gpu / 100, best = -1;
            for (int g = 0; g < n.gpus && d->gpu >= 100 && left > 0; g++)
                if (n.gpu_used[g] == 0) {
                    gpus |= 1ULL << g;
                    left--;
                }
            for (int g = 0; g < n.gpus && d->gpu > 0 && d->gpu < 100; g++)
                if (100 - n.gpu_used[g] >= d->gpu &&
                    (best < 0 || n.gpu_used[g] > n.gpu_used[best]))
                    best = g;
            model_add(&n, d, best >= 0 ? 1ULL << best : gpus, 1);
            done++;
        }
        if (done == count)
            return true;
    }
    return false;
}

static int model_nodes(const struct model *m, const struct model_need *d)
{
    int count = 0;
    for (int i = 0; i < NODES; i++)
        count += model_fits(&m->nodes[i], d);
    return count;
}

static void place_gang(struct model *m)
{
    int shape = (int)rnd(SHAPES), count = 2 + (int)rnd(GANG - 1);
    uint32_t shapes[GANG], grants[GANG], nodes[GANG];
    struct schedule_claim claim = SCHEDULE_CLAIM_INIT;
    enum plan_placement placement = (enum plan_placement)rnd(4);
    const struct model_need *d = &m->needs[shape];
    for (int i = 0; i < count; i++)
        shapes[i] = m->shapes[shape];
    bool placed = schedule_cluster_place(m->c, shapes, (uint32_t)count, placement,
                                         &claim, grants);
    int fitting = model_nodes(m, d);
    if (placement == PLAN_SAME_NODE)
        must(placed == model_same(m, d, count));
    else if (placement == PLAN_DIFFERENT_NODES)
        must(placed == (fitting >= count));
    else if (model_same(m, d, count) || fitting >= count)
        must(placed);
    if (placement == PLAN_PACK && placed && model_same(m, d, count)) {
        /* as few nodes as can be */
        uint32_t first = schedule_cluster_grant(m->c, grants[0]).node;
        must(first == schedule_cluster_grant(m->c, grants[count - 1]).node);
    }
    for (int i = 0; placed && i < count; i++) {
        nodes[i] = schedule_cluster_grant(m->c, grants[i]).node;
        keep(m, grants[i], shape);
    }
    if (placed && placement == PLAN_SAME_NODE)
        must(bits(nodes, count) == 1);
    if (placed && placement == PLAN_DIFFERENT_NODES)
        must(bits(nodes, count) == count);
    if (placed && placement == PLAN_SPREAD)
        must(bits(nodes, count) >= (fitting < count ? fitting : count));
}

static void give_one(struct model *m, int i)
{
    struct model_grant *g = &m->grants[i];
    if (!g->used)
        return;
    schedule_cluster_give(m->c, g->number);
    model_add(&m->nodes[g->node], &m->needs[g->shape], g->gpus, -1);
    g->used = false;
}

static void churn(struct model *m)
{
    uint32_t i = rnd(NODES);
    struct model_node *n = &m->nodes[i];
    if (!n->there) {
        add_node(m, i);
    } else if (rnd(2)) {
        n->closed = !n->closed;
        schedule_cluster_close(m->c, i, n->closed);
    } else {
        schedule_cluster_remove(m->c, i);
        for (int k = 0; k < GRANTS; k++)
            if (m->grants[k].used && m->grants[k].node == i)
                give_one(m, k);
        n->there = false;
    }
}

static void check_totals(const struct model *m)
{
    struct schedule_totals t;
    double cpu = 0, gpu = 0;
    schedule_cluster_totals(m->c, &t);
    for (int i = 0; i < NODES; i++) {
        const struct model_node *n = &m->nodes[i];
        if (!n->there)
            continue;
        cpu += n->cpu_used / 100.0;
        for (int g = 0; g < n->gpus; g++)
            gpu += n->gpu_used[g] / 100.0;
    }
    ck_assert_double_eq_tol(t.cpu_used, cpu, 1e-6);
    ck_assert_double_eq_tol(t.gpu_used, gpu, 1e-6);
}

static uint64_t play(unsigned seed, int steps)
{
    struct model *m = rwf_xcalloc(1, sizeof(*m));
    random_state = seed * 7919u + 3;
    m->c = schedule_cluster_create();
    for (int i = 0; i < SHAPES / 2; i++)
        add_shape(m, i);
    for (uint32_t i = 0; i < NODES; i++)
        add_node(m, i);
    for (int i = SHAPES / 2; i < SHAPES; i++)
        add_shape(m, i);
    for (int i = 0; i < steps; i++) {
        uint32_t dice = rnd(100);
        if (room(m) < GANG || (dice >= 55 && dice < 95))
            give_one(m, (int)rnd(GRANTS));
        else if (dice < 45)
            place_one(m);
        else if (dice < 55)
            place_gang(m);
        else
            churn(m);
    }
    check_totals(m);
    for (int i = 0; i < GRANTS; i++)
        give_one(m, i);
    check_totals(m);
    schedule_cluster_destroy(m->c);
    uint64_t trace = m->trace;
    free(m);
    return trace;
}

START_TEST(agrees_with_a_look_at_all_nodes)
{
    for (unsigned seed = 0; seed < 60; seed++) {
        uint64_t trace = play((unsigned)_i * 60 + seed, 1500);
        if (seed % 10 == 0)
            ck_assert_uint_eq(trace, play((unsigned)_i * 60 + seed, 1500));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, agrees_with_a_look_at_all_nodes, 0, 10);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
