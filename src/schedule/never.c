/* SPDX-License-Identifier: Apache-2.0
 *
 * What can never be met, and what is short now, in the words of people.
 */
#include "config.h"
#include "schedule/nodes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/units.h"

/* One thing that a node lacks. */
struct lack {
    double part; /* of what is asked for; the less the nearer */
    uint32_t node;
    struct rwf_str path, text;
};

static bool is_member(const struct schedule__node *n)
{
    return n->name != NULL && !n->gone;
}

/* "this machine", or the nearest of many. */
static void add_whose(const struct schedule_cluster *c, const struct schedule__node *n,
                      struct rwf_str *out)
{
    if (c->live <= 1 && c->by_name)
        rwf_str_addf(out, "the only node, %s,", n->name);
    else if (c->live <= 1)
        rwf_str_add(out, "this machine");
    else
        rwf_str_addf(out, "the nearest of %u nodes, %s,", c->live, n->name);
}

static void set_lack(struct lack *l, double asked, double has, const char *path)
{
    l->part = has >= asked ? 0 : (asked - has) / asked;
    rwf_str_clear(&l->path);
    rwf_str_clear(&l->text);
    rwf_str_add(&l->path, path);
}

static bool lacks_amount(const struct schedule_cluster *c,
                         const struct schedule__node *n, double asked, double has,
                         const char *name, struct lack *l)
{
    char *path = rwf_xasprintf("resources.%s", name);
    set_lack(l, asked, has, path);
    free(path);
    rwf_str_addf(&l->text, "asks for %g %s, ", asked, name);
    add_whose(c, n, &l->text);
    rwf_str_addf(&l->text, " has %g", has);
    if (c->live > 1)
        rwf_str_addf(&l->text, " (%g missing)", asked - has);
    return true;
}

static bool lacks_memory(const struct schedule_cluster *c,
                         const struct schedule__node *n, int64_t asked, struct lack *l)
{
    char asks[RWF_UNITS_LEN], has[RWF_UNITS_LEN], gap[RWF_UNITS_LEN];
    set_lack(l, (double)asked, (double)n->stock.memory, "resources.memory");
    rwf_str_addf(&l->text, "asks for %s of memory, ", rwf_size_format(asked, asks));
    add_whose(c, n, &l->text);
    rwf_str_addf(&l->text, " has %s", rwf_size_format(n->stock.memory, has));
    if (c->live > 1)
        rwf_str_addf(&l->text, " (%s missing)",
                     rwf_size_format(asked - n->stock.memory, gap));
    return true;
}

static int64_t custom_amount(const struct schedule_cluster *c,
                             const struct schedule__node *n, const char *name)
{
    uintptr_t number = (uintptr_t)rwf_map_get(c->customs, name);
    const struct schedule__custom *has =
        number == 0 ? NULL
                    : schedule__custom_find(n->stock.custom, n->stock.custom_count,
                                            (uint32_t)number - 1);
    return has == NULL ? 0 : has->amount;
}

static bool lacks_custom(const struct schedule_cluster *c,
                         const struct schedule__node *n, const char *name, double asked,
                         struct lack *l)
{
    int64_t amount = custom_amount(c, n, name);
    if (schedule__millionths(asked) <= amount)
        return false;
    char *path = rwf_xasprintf("resources.custom.%s", name);
    set_lack(l, asked, schedule__amount(amount), path);
    free(path);
    rwf_str_addf(&l->text, "asks for %g of the custom resource '%s', ", asked, name);
    add_whose(c, n, &l->text);
    rwf_str_addf(&l->text, " has %g (say what %s has with RAYWF_RESOURCES=%s=%g)",
                 schedule__amount(amount), c->by_name ? "a node" : "it", name, asked);
    return true;
}

static const char *label_of(const struct schedule__node *n, const char *key)
{
    for (size_t i = 0; i < n->label_count; i++)
        if (strcmp(n->labels[i].key, key) == 0)
            return n->labels[i].value;
    return NULL;
}

static bool lacks_label(const struct schedule_cluster *c,
                        const struct schedule__node *n,
                        const struct schedule_need *need, struct lack *l)
{
    for (size_t i = 0; i < need->label_count; i++) {
        const char *has = label_of(n, need->label_keys[i]);
        if (has != NULL && strcmp(has, need->label_values[i]) == 0)
            continue;
        set_lack(l, 2, 0, "resources.labels");
        l->part = 2; /* another size does not help */
        rwf_str_addf(&l->text, "asks for a node with the label %s: %s, ",
                     need->label_keys[i], need->label_values[i]);
        add_whose(c, n, &l->text);
        if (has == NULL)
            rwf_str_addf(&l->text, " has no label '%s'", need->label_keys[i]);
        else
            rwf_str_addf(&l->text, " has %s: %s", need->label_keys[i], has);
        return true;
    }
    return false;
}

/* The first thing that node, empty, lacks for need. */
static bool lacks(const struct schedule_cluster *c, const struct schedule__node *n,
                  const struct schedule_need *need, struct lack *l)
{
    const struct schedule__stock *s = &n->stock;
    if (lacks_label(c, n, need, l))
        return true;
    if (schedule__millionths(need->cpu) > s->cpu)
        return lacks_amount(c, n, need->cpu, schedule__amount(s->cpu), "cpu", l);
    if (need->memory > s->memory)
        return lacks_memory(c, n, need->memory, l);
    if (need->gpu > s->gpu_count)
        return lacks_amount(c, n, need->gpu, s->gpu_count, "gpu", l);
    for (size_t i = 0; i < need->custom_count; i++)
        if (lacks_custom(c, n, need->custom_names[i], need->custom_amounts[i], l))
            return true;
    return false;
}

static void lack_free(struct lack *l)
{
    rwf_str_free(&l->path);
    rwf_str_free(&l->text);
}

/* True when no node can hold one; *ret is what the nearest lacks. */
static bool one_never(const struct schedule_cluster *c,
                      const struct schedule_need *need, struct lack *ret)
{
    bool some = false;
    for (uint32_t i = 0; i < c->count; i++) {
        struct lack l = {.node = i};
        if (!is_member(&c->nodes[i]))
            continue;
        if (!lacks(c, &c->nodes[i], need, &l)) {
            lack_free(&l);
            lack_free(ret);
            *ret = (struct lack){0};
            return false;
        }
        if (!some || l.part < ret->part) {
            lack_free(ret);
            *ret = l;
        } else {
            lack_free(&l);
        }
        some = true;
    }
    return some;
}

/* --- gangs --- */

/* How many of need the empty node holds, at most `most`. */
static uint32_t capacity(const struct schedule_cluster *c,
                         const struct schedule__node *n,
                         const struct schedule_need *need, uint32_t most)
{
    struct lack l = {0};
    bool none = lacks(c, n, need, &l);
    lack_free(&l);
    if (none)
        return 0;
    double count = most,
           each = need->gpu > 0 && need->gpu < 1 ? floor(1 / need->gpu + 1e-9) : 0;
    if (need->cpu > 0)
        count = fmin(count, schedule__amount(n->stock.cpu) / need->cpu + 1e-9);
    if (need->memory > 0)
        count = fmin(count, (double)(n->stock.memory / need->memory));
    if (need->gpu > 0)
        count = fmin(count, each > 0 ? n->stock.gpu_count * each
                                     : floor(n->stock.gpu_count / need->gpu));
    for (size_t i = 0; i < need->custom_count; i++)
        if (need->custom_amounts[i] > 0)
            count = fmin(count,
                         schedule__amount(custom_amount(c, n, need->custom_names[i])) /
                                 need->custom_amounts[i] +
                             1e-9);
    return (uint32_t)fmin(count, n->stock.slots);
}

static bool gang_never(const struct schedule_cluster *c,
                       const struct schedule_need *need, uint32_t count,
                       enum plan_placement placement, struct rwf_str *ret_path,
                       struct rwf_str *out)
{
    uint32_t most = 0, nodes = 0, nearest = 0;
    uint64_t all = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t here =
            is_member(&c->nodes[i]) ? capacity(c, &c->nodes[i], need, count) : 0;
        nodes += here > 0;
        all += here;
        if (here > most) {
            most = here;
            nearest = i;
        }
    }
    bool apart = placement == PLAN_DIFFERENT_NODES, same = placement == PLAN_SAME_NODE;
    if ((apart ? nodes : same ? most : all) >= count)
        return false;
    rwf_str_add(ret_path, "resources.ranks");
    if (apart)
        rwf_str_addf(out,
                     "asks for %u ranks on different nodes, only %u of %u node%s can "
                     "hold one (%u missing)",
                     count, nodes, c->live, c->live == 1 ? "" : "s", count - nodes);
    else if (same)
        rwf_str_addf(out,
                     "asks for %u ranks on the same node, the one that holds most, %s, "
                     "holds %u (%u missing)",
                     count, c->nodes[nearest].name, most, count - most);
    else
        rwf_str_addf(out,
                     "asks for %u ranks, %u node%s hold%s %u (%u missing)",
                     count, c->live, c->live == 1 ? "" : "s", c->live == 1 ? "s" : "",
                     (unsigned)all, count - (unsigned)all);
    return true;
}

bool schedule_cluster_never(const struct schedule_cluster *c,
                            const struct schedule_need *need, uint32_t count,
                            enum plan_placement placement, struct rwf_str *ret_path,
                            struct rwf_str *out)
{
    struct lack l = {0};
    if (need->gpu > 1 && need->gpu != floor(need->gpu)) {
        rwf_str_add(ret_path, "resources.gpu");
        rwf_str_addf(out, "asks for %g gpu; above 1 only whole GPUs can be granted",
                     need->gpu);
        return true;
    }
    if (c->live == 0) {
        rwf_str_add(ret_path, "resources");
        rwf_str_add(out, "asks for a node, and the cluster has none");
        return true;
    }
    bool never = one_never(c, need, &l);
    if (never) {
        rwf_str_add(ret_path, l.path.data);
        rwf_str_add(out, l.text.data);
    }
    lack_free(&l);
    return never || (count > 1 && gang_never(c, need, count, placement, ret_path, out));
}

/* --- what is short now --- */

static double short_part(const struct schedule__node *n,
                         const struct schedule__demand *d)
{
    double part = 0;
    if (d->cpu > n->stock.cpu_free && d->cpu > 0)
        part += (double)(d->cpu - n->stock.cpu_free) / (double)d->cpu;
    if (d->memory > n->stock.memory_free)
        part += (double)(d->memory - n->stock.memory_free) / (double)d->memory;
    if (d->gpu_whole > n->stock.gpu_whole)
        part += (double)(d->gpu_whole - n->stock.gpu_whole) / d->gpu_whole;
    if (d->gpu_share > n->stock.gpu_most)
        part += 1;
    return part;
}

static void add_short_custom(const struct schedule_cluster *c,
                             const struct schedule__stock *s,
                             const struct schedule__demand *d, struct rwf_str *out)
{
    for (size_t i = 0; i < d->custom_count; i++) {
        const struct schedule__custom *has =
            schedule__custom_find(s->custom, s->custom_count, d->custom[i].name);
        if (has != NULL && d->custom[i].amount > has->free) {
            rwf_str_addf(out, "%g of %g %s", schedule__amount(d->custom[i].amount),
                         schedule__amount(has->amount),
                         rwf_map_key_at(c->customs, d->custom[i].name));
            return;
        }
    }
    rwf_str_add(out, "its turn");
}

static void add_short(const struct schedule_cluster *c, const struct schedule__node *n,
                      const struct schedule__demand *d, struct rwf_str *out)
{
    char asks[RWF_UNITS_LEN], has[RWF_UNITS_LEN];
    const struct schedule__stock *s = &n->stock;
    if (d->cpu > s->cpu_free && d->cpu > 0)
        rwf_str_addf(out, "%g of %g cpu", schedule__amount(d->cpu),
                     schedule__amount(s->cpu));
    else if (d->memory > s->memory_free)
        rwf_str_addf(out, "%s of %s memory", rwf_size_format(d->memory, asks),
                     rwf_size_format(s->memory, has));
    else if (d->gpu_whole > s->gpu_whole)
        rwf_str_addf(out, "%d of %d gpu", d->gpu_whole, s->gpu_count);
    else if (d->gpu_share > s->gpu_most)
        rwf_str_addf(out, "%g of %d gpu", schedule__amount(d->gpu_share), s->gpu_count);
    else if (s->slots_free <= 0)
        rwf_str_addf(out, "one of %d processes at once", s->slots);
    else
        add_short_custom(c, s, d, out);
}

void schedule_cluster_short(const struct schedule_cluster *c, uint32_t shape,
                            struct rwf_str *out)
{
    const struct schedule__shape *s = &c->shapes[shape];
    const struct schedule__node *best = NULL;
    double least = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct schedule__node *n = &c->nodes[i];
        if (!is_member(n) || n->closed ||
            !schedule__stock_could(&n->stock, &s->demand) ||
            !schedule__has_labels(n, s))
            continue;
        double part = short_part(n, &s->demand);
        if (best == NULL || part < least) {
            best = n;
            least = part;
        }
    }
    if (best == NULL) {
        rwf_str_add(out, "a node that can hold it (none of those that are here can)");
        return;
    }
    add_short(c, best, &s->demand, out);
    if (c->live > 1)
        rwf_str_addf(out, " on %s, the nearest of %u nodes", best->name, c->live);
}
