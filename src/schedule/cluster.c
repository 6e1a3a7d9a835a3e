/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes and shapes: see nodes.h for how they are found.
 */
#include "config.h"
#include "schedule/nodes.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct schedule_cluster *schedule_cluster_create(void)
{
    struct schedule_cluster *c = rwf_xcalloc(1, sizeof(*c));
    c->names = rwf_map_create();
    c->marks = rwf_map_create();
    c->customs = rwf_map_create();
    c->shape_keys = rwf_map_create();
    c->free_grant = SCHEDULE_NO_GRANT;
    c->most_cpu = c->most_memory = c->most_gpu = 1;
    return c;
}

struct schedule_cluster *schedule_cluster_of(const struct schedule_machine *m)
{
    struct schedule_cluster *c = schedule_cluster_create();
    (void)schedule_cluster_add(c, m);
    return c;
}

void schedule_cluster_by_name(struct schedule_cluster *c)
{
    c->by_name = true;
}

static void labels_free(struct schedule__label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(labels[i].key);
        free(labels[i].value);
    }
    free(labels);
}

static void node_free(struct schedule__node *n)
{
    for (int i = 0; n->gpu_names != NULL && i < n->stock.gpu_count; i++)
        free(n->gpu_names[i]);
    free(n->gpu_names);
    free(n->gpu_memory);
    labels_free(n->labels, n->label_count);
    schedule__stock_free(&n->stock);
    free(n->name);
    n->name = NULL;
    n->labels = NULL;
    n->label_count = 0;
    n->gpu_memory = NULL;
    n->gpu_names = NULL;
}

void schedule_cluster_destroy(struct schedule_cluster *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        node_free(&c->nodes[i]);
    for (size_t i = 0; i < c->shape_count; i++) {
        labels_free(c->shapes[i].labels, c->shapes[i].label_count);
        free(c->shapes[i].demand.custom);
    }
    for (size_t i = 0; i < c->grant_count; i++)
        if (c->grants[i].inner != NULL) {
            schedule__stock_free(c->grants[i].inner);
            free(c->grants[i].inner);
        }
    for (int t = 0; t < SCHEDULE__TREES; t++) {
        schedule__tree_free(&c->trees[t]);
        free(c->at[t]);
        free(c->empty[t]);
    }
    rwf_map_destroy(c->names, NULL);
    rwf_map_destroy(c->marks, NULL);
    rwf_map_destroy(c->customs, NULL);
    rwf_map_destroy(c->shape_keys, NULL);
    free(c->nodes);
    free(c->shapes);
    free(c->grants);
    free(c->levels);
    free(c->held);
    free(c);
}

/* --- what the trees know --- */

static bool is_open(const struct schedule_cluster *c, const struct schedule__node *n)
{
    bool held =
        n->hold_owner != NULL && (n->hold_owner != c->lift_owner || n->hold != c->lift);
    return n->name != NULL && !n->gone && !n->closed && !held &&
           n->stock.slots_free > 0;
}

void schedule__refresh(struct schedule_cluster *c, uint32_t node)
{
    const struct schedule__node *n = &c->nodes[node];
    struct schedule__top top = {.cpu = -1};
    if (is_open(c, n))
        top =
            (struct schedule__top){.cpu = n->stock.cpu_free > 0 ? n->stock.cpu_free : 0,
                                   .memory = n->stock.memory_free,
                                   .marks = n->marks,
                                   .gpu_most = n->stock.gpu_most,
                                   .gpu_whole = n->stock.gpu_whole};
    schedule__tree_set(&c->trees[n->tree], n->place, &top);
}

void schedule__freed(struct schedule_cluster *c, uint32_t node)
{
    schedule__refresh(c, node);
    c->ring[c->gives++ % SCHEDULE__RING] = node;
}

void schedule__lift(struct schedule_cluster *c, const struct schedule_claim *claim,
                    const uint32_t *shapes, uint32_t count)
{
    const void *owner = claim != NULL ? claim->owner : c->lift_owner;
    uint64_t hold = claim != NULL ? claim->hold : c->lift;
    c->lift_owner = claim != NULL ? owner : NULL;
    c->lift = hold;
    for (size_t i = 0; i < c->held_count; i++) {
        const struct schedule__node *n = &c->nodes[c->held[i]];
        if (n->hold_owner != owner || n->hold != hold)
            continue;
        schedule__refresh(c, c->held[i]);
        if (claim != NULL)
            schedule__look_again(c, shapes, count, c->held[i]);
    }
}

static bool has_label(const struct schedule__node *n, const struct schedule__label *l)
{
    for (size_t i = 0; i < n->label_count; i++)
        if (strcmp(n->labels[i].key, l->key) == 0)
            return strcmp(n->labels[i].value, l->value) == 0;
    return false;
}

bool schedule__has_labels(const struct schedule__node *n,
                          const struct schedule__shape *s)
{
    for (size_t i = 0; i < s->label_count; i++)
        if (!has_label(n, &s->labels[i]))
            return false;
    return true;
}

/* The bit of a label or custom name; 0 when there are too many. */
static uint64_t mark_find(const struct schedule_cluster *c, const char *text)
{
    uintptr_t bit = (uintptr_t)rwf_map_get(c->marks, text);
    return bit == 0 ? 0 : 1ULL << (bit - 1);
}

static uint64_t marks_of(const struct schedule_cluster *c,
                         const struct schedule__label *labels, size_t count)
{
    uint64_t marks = 0;
    for (size_t i = 0; i < count; i++) {
        char *text = rwf_xasprintf("%s=%s", labels[i].key, labels[i].value);
        marks |= mark_find(c, text);
        free(text);
    }
    return marks;
}

static uint64_t custom_marks(const struct schedule_cluster *c,
                             const struct schedule__custom *list, size_t count)
{
    uint64_t marks = 0;
    for (size_t i = 0; i < count; i++) {
        char *text = rwf_xasprintf("#%u", list[i].name);
        marks |= list[i].amount > 0 ? mark_find(c, text) : 0;
        free(text);
    }
    return marks;
}

static void mark_node(struct schedule_cluster *c, struct schedule__node *n)
{
    n->marks = marks_of(c, n->labels, n->label_count) |
               custom_marks(c, n->stock.custom, n->stock.custom_count);
}

/* True when the trees must learn it. */
static bool mark_add(struct schedule_cluster *c, const char *text)
{
    size_t count = rwf_map_count(c->marks);
    if (count == SCHEDULE__MARKS || rwf_map_get(c->marks, text) != NULL)
        return false;
    rwf_map_set(c->marks, text, (void *)(uintptr_t)(count + 1));
    return true;
}

/* --- custom resources --- */

static uint32_t custom_number(struct schedule_cluster *c, const char *name)
{
    uintptr_t known = (uintptr_t)rwf_map_get(c->customs, name);
    if (known == 0) {
        known = rwf_map_count(c->customs) + 1;
        rwf_map_set(c->customs, name, (void *)known);
    }
    return (uint32_t)known - 1;
}

static int by_name(const void *a, const void *b)
{
    const struct schedule__custom *x = a, *y = b;
    return (x->name > y->name) - (x->name < y->name);
}

/* Names given twice add up. */
static struct schedule__custom *customs_make(struct schedule_cluster *c,
                                             const char *const *names,
                                             const double *amounts, size_t count,
                                             size_t *ret_count)
{
    struct schedule__custom *list = rwf_xcalloc(count + 1, sizeof(*list));
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t name = custom_number(c, names[i]);
        struct schedule__custom *one =
            (struct schedule__custom *)schedule__custom_find(list, used, name);
        if (one == NULL)
            one = &list[used++];
        one->name = name;
        one->amount += schedule__millionths(amounts[i]);
        one->free = one->amount;
    }
    qsort(list, used, sizeof(*list), by_name);
    *ret_count = used;
    return list;
}

/* --- nodes --- */

static struct schedule__label *labels_make(const char *const *keys,
                                           const char *const *values, size_t count,
                                           const char *node)
{
    struct schedule__label *labels = rwf_xcalloc(count + 1, sizeof(*labels));
    for (size_t i = 0; i < count; i++)
        labels[i] =
            (struct schedule__label){rwf_xstrdup(keys[i]), rwf_xstrdup(values[i])};
    if (node != NULL)
        labels[count] =
            (struct schedule__label){rwf_xstrdup("node"), rwf_xstrdup(node)};
    return labels;
}

static void fill_gpus(struct schedule__node *n, const struct schedule_machine *m)
{
    size_t count = (size_t)n->stock.gpu_count;
    if (m->gpu_memory != NULL && count > 0) {
        n->gpu_memory = rwf_xcalloc(count, sizeof(*n->gpu_memory));
        memcpy(n->gpu_memory, m->gpu_memory, count * sizeof(*n->gpu_memory));
    }
    if (m->gpu_names != NULL && count > 0) {
        n->gpu_names = rwf_xcalloc(count, sizeof(*n->gpu_names));
        for (size_t i = 0; i < count; i++)
            if (m->gpu_names[i] != NULL)
                n->gpu_names[i] = rwf_xstrdup(m->gpu_names[i]);
    }
}

static void fill(struct schedule_cluster *c, struct schedule__node *n,
                 const struct schedule_machine *m)
{
    const char *name = m->name != NULL ? m->name : "";
    n->name = rwf_xstrdup(name);
    n->first = n->last = SCHEDULE_NO_GRANT;
    schedule__stock_init(&n->stock, m);
    n->stock.custom = customs_make(c, m->custom_names, m->custom_amounts,
                                   m->custom_count, &n->stock.custom_count);
    n->labels = labels_make(m->label_keys, m->label_values, m->label_count, name);
    n->label_count = m->label_count + 1;
    fill_gpus(n, m);
    mark_node(c, n);
}

static uint32_t take_place(struct schedule_cluster *c, uint32_t tree, uint32_t node)
{
    uint32_t place;
    if (c->empty_count[tree] > 0) {
        place = c->empty[tree][--c->empty_count[tree]];
        c->at[tree][place] = node;
        return place;
    }
    *RWF_PUSH(c->at[tree], c->at_count[tree], c->at_cap[tree]) = node;
    return schedule__tree_add(&c->trees[tree]);
}

/* A number that nobody has any more, or a new one. */
static uint32_t take_number(struct schedule_cluster *c, uint32_t tree)
{
    uint32_t node = c->live < c->count ? 0 : (uint32_t)c->count;
    while (node < c->count && c->nodes[node].name != NULL)
        node++;
    if (node == c->count)
        *RWF_PUSH(c->nodes, c->count, c->cap) = (struct schedule__node){0};
    c->nodes[node].tree = tree;
    c->nodes[node].place = take_place(c, tree, node);
    return node;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

uint32_t schedule_cluster_add(struct schedule_cluster *c,
                              const struct schedule_machine *m)
{
    uint32_t node = take_number(c, m->gpu_count > 0);
    struct schedule__node *n = &c->nodes[node];
    fill(c, n, m);
    c->live++;
    c->members++;
    c->most_cpu = larger(c->most_cpu, (double)n->stock.cpu);
    c->most_memory = larger(c->most_memory, (double)n->stock.memory);
    c->most_gpu = larger(c->most_gpu, n->stock.gpu_count);
    rwf_map_set(c->names, n->name, (void *)(uintptr_t)(node + 1));
    schedule__freed(c, node);
    return node;
}

void schedule__bury(struct schedule_cluster *c, uint32_t node)
{
    struct schedule__node *n = &c->nodes[node];
    if (!n->gone || n->grants > 0 || n->name == NULL)
        return;
    node_free(n);
    *RWF_PUSH(c->empty[n->tree], c->empty_count[n->tree], c->empty_cap[n->tree]) =
        n->place;
    n->gone = n->closed = false;
    c->live--;
}

void schedule_cluster_remove(struct schedule_cluster *c, uint32_t node)
{
    struct schedule__node *n = &c->nodes[node];
    rwf_assert(node < c->count && n->name != NULL);
    for (size_t i = 0; n->hold_owner != NULL && i < c->held_count; i++)
        if (c->held[i] == node)
            c->held[i] = c->held[--c->held_count];
    n->hold_owner = NULL;
    n->gone = true;
    c->members++;
    schedule__refresh(c, node);
    schedule__bury(c, node);
}

void schedule_cluster_close(struct schedule_cluster *c, uint32_t node, bool closed)
{
    rwf_assert(node < c->count && c->nodes[node].name != NULL);
    c->nodes[node].closed = closed;
    if (closed)
        schedule__refresh(c, node);
    else
        schedule__freed(c, node);
}

uint32_t schedule_cluster_find(const struct schedule_cluster *c, const char *name)
{
    uintptr_t known = (uintptr_t)rwf_map_get(c->names, name);
    if (known == 0)
        return SCHEDULE_NO_NODE;
    const struct schedule__node *n = &c->nodes[known - 1];
    bool same = n->name != NULL && !n->gone && strcmp(n->name, name) == 0;
    return same ? (uint32_t)known - 1 : SCHEDULE_NO_NODE;
}

uint32_t schedule_cluster_count(const struct schedule_cluster *c)
{
    return (uint32_t)c->count;
}

void schedule_cluster_view(const struct schedule_cluster *c, uint32_t node,
                           struct schedule_node_view *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (node >= c->count || c->nodes[node].name == NULL || c->nodes[node].gone)
        return;
    const struct schedule__node *n = &c->nodes[node];
    ret->name = n->name;
    ret->cpu = schedule__amount(n->stock.cpu);
    ret->cpu_free = schedule__amount(n->stock.cpu_free);
    ret->memory = n->stock.memory;
    ret->memory_free = n->stock.memory_free;
    ret->gpu_count = n->stock.gpu_count;
    for (int i = 0; i < n->stock.gpu_count; i++)
        ret->gpu_free[i] = schedule__amount(n->stock.gpu_free[i]);
    ret->closed = n->closed;
    ret->held = n->hold_owner != NULL;
    ret->grants = n->grants;
}

int64_t schedule_cluster_gpu_memory(const struct schedule_cluster *c, uint32_t node,
                                    int gpu)
{
    const struct schedule__node *n = &c->nodes[node];
    return n->gpu_memory == NULL || gpu >= n->stock.gpu_count ? 0 : n->gpu_memory[gpu];
}

const char *schedule_cluster_gpu_name(const struct schedule_cluster *c, uint32_t node,
                                      int gpu)
{
    const struct schedule__node *n = &c->nodes[node];
    return n->gpu_names == NULL || gpu >= n->stock.gpu_count ? NULL : n->gpu_names[gpu];
}

void schedule_cluster_totals(const struct schedule_cluster *c,
                             struct schedule_totals *ret)
{
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < c->count; i++) {
        const struct schedule__stock *s = &c->nodes[i].stock;
        if (c->nodes[i].name == NULL || c->nodes[i].gone)
            continue;
        ret->nodes++;
        ret->cpu += schedule__amount(s->cpu);
        ret->cpu_used += schedule__amount(s->cpu - s->cpu_free);
        ret->memory += (double)s->memory;
        ret->memory_used += (double)(s->memory - s->memory_free);
        ret->gpu += s->gpu_count;
        for (int g = 0; g < s->gpu_count; g++)
            ret->gpu_used += schedule__amount(s->gpu[g] - s->gpu_free[g]);
    }
}

/* --- shapes --- */

void schedule_need_of(const struct plan_policy *p, struct schedule_need *ret)
{
    *ret = (struct schedule_need){.cpu = p->cpu,
                                  .memory = p->memory,
                                  .gpu = p->gpu,
                                  .custom_names = (const char *const *)p->custom_names,
                                  .custom_amounts = p->custom_amounts,
                                  .custom_count = p->custom_count,
                                  .label_keys = (const char *const *)p->label_keys,
                                  .label_values = (const char *const *)p->label_values,
                                  .label_count = p->label_count};
}

static char *shape_key(const struct schedule_need *need)
{
    struct rwf_str key = {NULL, 0, 0};
    rwf_str_addf(&key, "%.17g %lld %.17g", need->cpu, (long long)need->memory,
                 need->gpu);
    for (size_t i = 0; i < need->custom_count; i++)
        rwf_str_addf(&key, " %s=%.17g", need->custom_names[i], need->custom_amounts[i]);
    for (size_t i = 0; i < need->label_count; i++)
        rwf_str_addf(&key, " %zu:%s%zu:%s", strlen(need->label_keys[i]),
                     need->label_keys[i], strlen(need->label_values[i]),
                     need->label_values[i]);
    return rwf_str_take(&key);
}

static void shape_demand(struct schedule_cluster *c, struct schedule__shape *s,
                         const struct schedule_need *need)
{
    struct schedule__demand *d = &s->demand;
    d->cpu = schedule__millionths(need->cpu);
    d->memory = need->memory > 0 ? need->memory : 0;
    int64_t gpu = schedule__millionths(need->gpu);
    if (gpu < SCHEDULE__UNIT)
        d->gpu_share = (int32_t)gpu;
    else if (gpu / SCHEDULE__UNIT > SCHEDULE_MAX_GPUS)
        d->gpu_whole = SCHEDULE_MAX_GPUS + 1;
    else /* 1.5 cards: cluster_never says so; never less than asked */
        d->gpu_whole = (int)((gpu + SCHEDULE__UNIT - 1) / SCHEDULE__UNIT);
    d->custom = customs_make(c, need->custom_names, need->custom_amounts,
                             need->custom_count, &d->custom_count);
}

static void shape_marks(struct schedule_cluster *c, struct schedule__shape *s)
{
    bool news = false;
    for (size_t i = 0; i < s->label_count; i++) {
        if (strcmp(s->labels[i].key, "node") == 0) {
            s->pinned = s->labels[i].value; /* found by name: not worth a mark */
            s->exact = true;
            continue;
        }
        char *text = rwf_xasprintf("%s=%s", s->labels[i].key, s->labels[i].value);
        news |= mark_add(c, text);
        s->exact |= rwf_map_get(c->marks, text) == NULL;
        free(text);
    }
    for (size_t i = 0; i < s->demand.custom_count; i++) {
        char *text = rwf_xasprintf("#%u", s->demand.custom[i].name);
        news |= mark_add(c, text);
        s->exact = true;
        free(text);
    }
    for (size_t i = 0; news && i < c->count; i++)
        if (c->nodes[i].name != NULL) {
            mark_node(c, &c->nodes[i]);
            schedule__refresh(c, (uint32_t)i);
        }
    s->top = (struct schedule__top){
        .cpu = s->demand.cpu,
        .memory = s->demand.memory,
        .marks = marks_of(c, s->labels, s->label_count) |
                 custom_marks(c, s->demand.custom, s->demand.custom_count),
        .gpu_most = s->demand.gpu_share,
        .gpu_whole = s->demand.gpu_whole};
}

uint32_t schedule_cluster_shape(struct schedule_cluster *c,
                                const struct schedule_need *need)
{
    char *key = shape_key(need);
    uintptr_t known = (uintptr_t)rwf_map_get(c->shape_keys, key);
    if (known == 0) {
        known = c->shape_count + 1;
        rwf_map_set(c->shape_keys, key, (void *)known);
        struct schedule__shape *s = RWF_PUSH(c->shapes, c->shape_count, c->shape_cap);
        *s = (struct schedule__shape){.seen = c->gives};
        shape_demand(c, s, need);
        s->labels =
            labels_make(need->label_keys, need->label_values, need->label_count, NULL);
        s->label_count = need->label_count;
        shape_marks(c, s);
    }
    free(key);
    return (uint32_t)known - 1;
}

uint64_t schedule_cluster_members(const struct schedule_cluster *c)
{
    return c->members;
}

uint64_t schedule_cluster_version(const struct schedule_cluster *c)
{
    return c->gives;
}
