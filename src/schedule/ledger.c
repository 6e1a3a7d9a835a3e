/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "schedule/ledger.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/units.h"
#include "schedule/schedule.h"

/* Rounded up, so that a fraction below a millionth is not free of charge. */
static int64_t millionths(double amount)
{
    if (!(amount > 0))
        return 0;
    if (amount >= 1e12)
        return INT64_MAX / 2;
    return (int64_t)ceil(amount * (double)SCHEDULE__UNIT - 1e-3);
}

void schedule__ledger_init(struct schedule__ledger *l, const struct schedule_machine *m)
{
    memset(l, 0, sizeof(*l));
    l->cpu = l->cpu_free = millionths(m->cpu);
    l->memory = l->memory_free = m->memory;
    l->gpu_count =
        m->gpu_count > SCHEDULE__MAX_GPUS ? SCHEDULE__MAX_GPUS : m->gpu_count;
    l->gpu_whole = l->gpu_count;
    for (int i = 0; i < l->gpu_count; i++)
        l->gpu_free[i] = SCHEDULE__UNIT;
    l->slots = SCHEDULE__MAX_RUNNING;
    l->custom_count = m->custom_count;
    l->custom_names = rwf_xcalloc(m->custom_count + 1, sizeof(*l->custom_names));
    l->custom = rwf_xcalloc(m->custom_count + 1, sizeof(*l->custom));
    l->custom_free = rwf_xcalloc(m->custom_count + 1, sizeof(*l->custom_free));
    for (size_t i = 0; i < m->custom_count; i++) {
        l->custom_names[i] = rwf_xstrdup(m->custom_names[i]);
        l->custom[i] = l->custom_free[i] = millionths(m->custom_amounts[i]);
    }
}

void schedule__ledger_free(struct schedule__ledger *l)
{
    for (size_t i = 0; i < l->custom_count; i++)
        free(l->custom_names[i]);
    free(l->custom_names);
    free(l->custom);
    free(l->custom_free);
    memset(l, 0, sizeof(*l));
}

static size_t custom_index(const struct schedule__ledger *l, const char *name)
{
    for (size_t i = 0; i < l->custom_count; i++)
        if (strcmp(l->custom_names[i], name) == 0)
            return i;
    return SIZE_MAX;
}

void schedule__demand_make(const struct schedule__ledger *l,
                           const struct plan_policy *p, struct schedule__demand *ret)
{
    *ret = (struct schedule__demand){millionths(p->cpu), p->memory, millionths(p->gpu),
                                     NULL};
    if (p->custom_count == 0 || l->custom_count == 0)
        return;
    ret->custom = rwf_xcalloc(l->custom_count, sizeof(*ret->custom));
    for (size_t i = 0; i < p->custom_count; i++) {
        size_t at = custom_index(l, p->custom_names[i]);
        if (at != SIZE_MAX)
            ret->custom[at] += millionths(p->custom_amounts[i]);
    }
}

/* The fullest device that still has room for a fraction: packs, so that whole ones stay
 * free. -1: none. */
static int gpu_for_fraction(const struct schedule__ledger *l, int64_t fraction)
{
    int best = -1;
    for (int i = 0; i < l->gpu_count; i++)
        if (l->gpu_free[i] >= fraction &&
            (best < 0 || l->gpu_free[i] < l->gpu_free[best]))
            best = i;
    return best;
}

static bool gpu_fits(const struct schedule__ledger *l, int64_t gpu)
{
    if (gpu == 0)
        return true;
    if (gpu < SCHEDULE__UNIT)
        return gpu_for_fraction(l, gpu) >= 0;
    return l->gpu_whole >= gpu / SCHEDULE__UNIT;
}

static bool custom_fits(const struct schedule__ledger *l, const int64_t *custom)
{
    for (size_t i = 0; custom != NULL && i < l->custom_count; i++)
        if (custom[i] > l->custom_free[i])
            return false;
    return true;
}

bool schedule__ledger_fits(const struct schedule__ledger *l,
                           const struct schedule__demand *d)
{
    return l->slots > 0 && d->cpu <= l->cpu_free && d->memory <= l->memory_free &&
           gpu_fits(l, d->gpu) && custom_fits(l, d->custom);
}

static void gpu_add(struct schedule__ledger *l, int gpu, int64_t amount)
{
    l->gpu_whole -= l->gpu_free[gpu] == SCHEDULE__UNIT;
    l->gpu_free[gpu] += amount;
    l->gpu_whole += l->gpu_free[gpu] == SCHEDULE__UNIT;
    rwf_assert(l->gpu_free[gpu] >= 0 && l->gpu_free[gpu] <= SCHEDULE__UNIT);
}

static uint64_t gpu_take(struct schedule__ledger *l, int64_t gpu)
{
    uint64_t taken = 0;
    if (gpu > 0 && gpu < SCHEDULE__UNIT) {
        int at = gpu_for_fraction(l, gpu);
        gpu_add(l, at, -gpu);
        return 1ULL << at;
    }
    for (int i = 0; i < l->gpu_count && gpu > 0; i++) {
        if (l->gpu_free[i] != SCHEDULE__UNIT)
            continue;
        gpu_add(l, i, -SCHEDULE__UNIT);
        taken |= 1ULL << i;
        gpu -= SCHEDULE__UNIT;
    }
    return taken;
}

static void add(struct schedule__ledger *l, const struct schedule__demand *d, int sign)
{
    l->slots += sign;
    l->cpu_free += sign * d->cpu;
    l->memory_free += sign * d->memory;
    for (size_t i = 0; d->custom != NULL && i < l->custom_count; i++)
        l->custom_free[i] += sign * d->custom[i];
    rwf_assert(l->cpu_free >= 0 && l->cpu_free <= l->cpu);
    rwf_assert(l->memory_free >= 0 && l->memory_free <= l->memory);
}

uint64_t schedule__ledger_take(struct schedule__ledger *l,
                               const struct schedule__demand *d)
{
    rwf_assert(schedule__ledger_fits(l, d));
    add(l, d, -1);
    return gpu_take(l, d->gpu);
}

void schedule__ledger_give(struct schedule__ledger *l, const struct schedule__demand *d,
                           uint64_t gpus)
{
    int64_t each = d->gpu < SCHEDULE__UNIT ? d->gpu : SCHEDULE__UNIT;
    add(l, d, 1);
    for (int i = 0; i < l->gpu_count; i++)
        if (gpus & 1ULL << i)
            gpu_add(l, i, each);
}

static bool never_gpu(const struct schedule__ledger *l, double gpu, struct rwf_str *out)
{
    int most = l->gpu_count > SCHEDULE__MAX_GRANT ? SCHEDULE__MAX_GRANT : l->gpu_count;
    if (gpu > 1 && gpu != floor(gpu)) {
        rwf_str_addf(out, "asks for %g gpu; above 1 only whole GPUs can be granted",
                     gpu);
        return true;
    }
    if (gpu <= most)
        return false;
    rwf_str_addf(out, "asks for %g gpu, this machine has %d", gpu, l->gpu_count);
    if (l->gpu_count > most)
        rwf_str_addf(out, " (at most %d go to one step)", most);
    return true;
}

static bool never_custom(const struct schedule__ledger *l, const char *name,
                         double amount, struct rwf_str *out)
{
    size_t at = custom_index(l, name);
    double has = at == SIZE_MAX ? 0 : (double)l->custom[at] / (double)SCHEDULE__UNIT;
    if (millionths(amount) <= (at == SIZE_MAX ? 0 : l->custom[at]))
        return false;
    rwf_str_addf(
        out,
        "asks for %g of the custom resource '%s', this machine has %g (say what "
        "it has with RAYWF_RESOURCES=%s=%g)",
        amount, name, has, name, amount);
    return true;
}

bool schedule__ledger_never(const struct schedule__ledger *l,
                            const struct plan_policy *p, struct rwf_str *ret_path,
                            struct rwf_str *out)
{
    char asks[RWF_UNITS_LEN], has[RWF_UNITS_LEN];
    if (millionths(p->cpu) > l->cpu) {
        rwf_str_add(ret_path, "resources.cpu");
        rwf_str_addf(out, "asks for %g cpu, this machine has %g", p->cpu,
                     (double)l->cpu / (double)SCHEDULE__UNIT);
        return true;
    }
    if (p->memory > l->memory) {
        rwf_str_add(ret_path, "resources.memory");
        rwf_str_addf(out, "asks for %s of memory, this machine has %s",
                     rwf_size_format(p->memory, asks), rwf_size_format(l->memory, has));
        return true;
    }
    if (never_gpu(l, p->gpu, out)) {
        rwf_str_add(ret_path, "resources.gpu");
        return true;
    }
    for (size_t i = 0; i < p->custom_count; i++)
        if (never_custom(l, p->custom_names[i], p->custom_amounts[i], out)) {
            rwf_str_addf(ret_path, "resources.custom.%s", p->custom_names[i]);
            return true;
        }
    return false;
}

static double whole(int64_t amount)
{
    return (double)amount / (double)SCHEDULE__UNIT;
}

void schedule__ledger_short(const struct schedule__ledger *l,
                            const struct schedule__demand *d, struct rwf_str *out)
{
    char asks[RWF_UNITS_LEN], has[RWF_UNITS_LEN];
    if (d->cpu > l->cpu_free)
        rwf_str_addf(out, "%g of %g cpu", whole(d->cpu), whole(l->cpu));
    else if (d->memory > l->memory_free)
        rwf_str_addf(out, "%s of %s memory", rwf_size_format(d->memory, asks),
                     rwf_size_format(l->memory, has));
    else if (!gpu_fits(l, d->gpu))
        rwf_str_addf(out, "%g of %d gpu", whole(d->gpu), l->gpu_count);
    else if (l->slots == 0)
        rwf_str_addf(out, "one of %d processes at once", SCHEDULE__MAX_RUNNING);
    else
        for (size_t i = 0; d->custom != NULL && i < l->custom_count; i++)
            if (d->custom[i] > l->custom_free[i]) {
                rwf_str_addf(out, "%g of %g %s", whole(d->custom[i]),
                             whole(l->custom[i]), l->custom_names[i]);
                return;
            }
}
