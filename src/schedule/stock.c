/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "schedule/stock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"

/* Rounded up, so that a fraction below a millionth is not free of charge. */
int64_t schedule__millionths(double amount)
{
    if (!(amount > 0))
        return 0;
    if (amount >= 1e12)
        return INT64_MAX / 4;
    return (int64_t)ceil(amount * (double)SCHEDULE__UNIT - 1e-3);
}

void schedule__stock_init(struct schedule__stock *s, const struct schedule_machine *m)
{
    memset(s, 0, sizeof(*s));
    s->cpu = s->cpu_free = schedule__millionths(m->cpu);
    s->memory = s->memory_free = m->memory;
    s->slots = s->slots_free = m->slots > 0 ? m->slots : SCHEDULE_SLOTS;
    s->gpu_count = m->gpu_count > SCHEDULE_MAX_GPUS ? SCHEDULE_MAX_GPUS : m->gpu_count;
    s->gpu_whole = s->gpu_count;
    s->gpu = rwf_xcalloc((size_t)s->gpu_count + 1, sizeof(*s->gpu));
    s->gpu_free = rwf_xcalloc((size_t)s->gpu_count + 1, sizeof(*s->gpu_free));
    for (int i = 0; i < s->gpu_count; i++)
        s->gpu[i] = s->gpu_free[i] = SCHEDULE__UNIT;
    s->gpu_most = s->gpu_count > 0 ? SCHEDULE__UNIT : 0;
}

static void carve_gpus(struct schedule__stock *s, const struct schedule__demand *d,
                       uint64_t gpus, int gpu_count)
{
    int32_t each = d->gpu_share > 0 ? d->gpu_share : SCHEDULE__UNIT;
    s->gpu_count = gpu_count;
    s->gpu = rwf_xcalloc((size_t)gpu_count + 1, sizeof(*s->gpu));
    s->gpu_free = rwf_xcalloc((size_t)gpu_count + 1, sizeof(*s->gpu_free));
    for (int i = 0; i < gpu_count; i++)
        if (gpus & 1ULL << i) {
            s->gpu[i] = s->gpu_free[i] = each;
            s->gpu_most = each;
            s->gpu_whole += each == SCHEDULE__UNIT;
        }
}

void schedule__stock_carve(struct schedule__stock *s, const struct schedule__demand *d,
                           uint64_t gpus, int gpu_count)
{
    memset(s, 0, sizeof(*s));
    s->cpu = s->cpu_free = d->cpu;
    s->memory = s->memory_free = d->memory;
    s->slots = s->slots_free = SCHEDULE_SLOTS;
    carve_gpus(s, d, gpus, gpu_count);
    s->custom_count = d->custom_count;
    s->custom = rwf_xcalloc(d->custom_count + 1, sizeof(*s->custom));
    for (size_t i = 0; i < d->custom_count; i++) {
        s->custom[i] = d->custom[i];
        s->custom[i].free = s->custom[i].amount;
    }
}

void schedule__stock_free(struct schedule__stock *s)
{
    free(s->gpu);
    free(s->gpu_free);
    free(s->custom);
    memset(s, 0, sizeof(*s));
}

const struct schedule__custom *
schedule__custom_find(const struct schedule__custom *list, size_t count, uint32_t name)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].name == name)
            return &list[i];
    return NULL;
}

static bool custom_fits(const struct schedule__stock *s,
                        const struct schedule__demand *d, bool when_empty)
{
    for (size_t i = 0; i < d->custom_count; i++) {
        const struct schedule__custom *has =
            schedule__custom_find(s->custom, s->custom_count, d->custom[i].name);
        int64_t most = has == NULL ? 0 : when_empty ? has->amount : has->free;
        if (d->custom[i].amount > most)
            return false;
    }
    return true;
}

bool schedule__stock_fits(const struct schedule__stock *s,
                          const struct schedule__demand *d)
{
    return s->slots_free > 0 && d->cpu <= (s->cpu_free > 0 ? s->cpu_free : 0) &&
           d->memory <= s->memory_free && d->gpu_share <= s->gpu_most &&
           d->gpu_whole <= s->gpu_whole && custom_fits(s, d, false);
}

bool schedule__stock_could(const struct schedule__stock *s,
                           const struct schedule__demand *d)
{
    int32_t most = 0;
    int whole = 0;
    for (int i = 0; i < s->gpu_count; i++) {
        most = s->gpu[i] > most ? s->gpu[i] : most;
        whole += s->gpu[i] == SCHEDULE__UNIT;
    }
    return d->cpu <= s->cpu && d->memory <= s->memory && d->gpu_share <= most &&
           d->gpu_whole <= whole && custom_fits(s, d, true);
}

/* --- GPUs --- */

/* The fullest card that still has room for a share. -1: none. */
static int card_for_share(const struct schedule__stock *s, int32_t share)
{
    int best = -1;
    for (int i = 0; i < s->gpu_count; i++)
        if (s->gpu_free[i] >= share && (best < 0 || s->gpu_free[i] < s->gpu_free[best]))
            best = i;
    return best;
}

static void gpu_add(struct schedule__stock *s, int gpu, int32_t amount)
{
    s->gpu_whole -= s->gpu_free[gpu] == SCHEDULE__UNIT;
    s->gpu_free[gpu] += amount;
    s->gpu_whole += s->gpu_free[gpu] == SCHEDULE__UNIT;
    rwf_assert(s->gpu_free[gpu] >= 0 && s->gpu_free[gpu] <= s->gpu[gpu]);
    s->gpu_most = 0;
    for (int i = 0; i < s->gpu_count; i++)
        if (s->gpu_free[i] > s->gpu_most)
            s->gpu_most = s->gpu_free[i];
}

static uint64_t choose_gpus(const struct schedule__stock *s,
                            const struct schedule__demand *d)
{
    uint64_t chosen = 0;
    if (d->gpu_share > 0)
        return 1ULL << card_for_share(s, d->gpu_share);
    for (int i = 0, left = d->gpu_whole; i < s->gpu_count && left > 0; i++)
        if (s->gpu_free[i] == SCHEDULE__UNIT) {
            chosen |= 1ULL << i;
            left--;
        }
    return chosen;
}

/* --- taking and giving --- */

static void add(struct schedule__stock *s, const struct schedule__demand *d,
                uint64_t gpus, int sign)
{
    int32_t each = d->gpu_share > 0 ? d->gpu_share : SCHEDULE__UNIT;
    s->slots_free += sign;
    s->cpu_free += sign * d->cpu;
    s->memory_free += sign * d->memory;
    for (uint64_t left = gpus; left != 0; left &= left - 1)
        gpu_add(s, __builtin_ctzll(left), sign * each);
    for (size_t i = 0; i < d->custom_count; i++) {
        struct schedule__custom *has = (struct schedule__custom *)schedule__custom_find(
            s->custom, s->custom_count, d->custom[i].name);
        if (has == NULL)
            continue; /* asks for 0 of it */
        has->free += sign * d->custom[i].amount;
        rwf_assert(has->free >= 0 && has->free <= has->amount);
    }
    rwf_assert(s->cpu_free <= s->cpu && s->slots_free <= s->slots);
    rwf_assert(s->memory_free >= 0 && s->memory_free <= s->memory);
}

uint64_t schedule__stock_take(struct schedule__stock *s,
                              const struct schedule__demand *d)
{
    rwf_assert(schedule__stock_fits(s, d));
    uint64_t gpus = choose_gpus(s, d);
    add(s, d, gpus, -1);
    return gpus;
}

void schedule__stock_retake(struct schedule__stock *s, const struct schedule__demand *d,
                            uint64_t gpus)
{
    add(s, d, gpus, -1);
}

void schedule__stock_give(struct schedule__stock *s, const struct schedule__demand *d,
                          uint64_t gpus)
{
    add(s, d, gpus, 1);
}

void schedule__stock_put_cpu(struct schedule__stock *s, int64_t cpu)
{
    s->cpu_free += cpu;
    rwf_assert(s->cpu_free <= s->cpu);
}

void schedule__stock_clear(struct schedule__stock *ret,
                           const struct schedule__stock *of)
{
    size_t gpus = (size_t)of->gpu_count * sizeof(*of->gpu);
    *ret = *of;
    ret->cpu_free = of->cpu;
    ret->memory_free = of->memory;
    ret->slots_free = of->slots;
    ret->gpu = rwf_xcalloc((size_t)of->gpu_count + 1, sizeof(*ret->gpu));
    ret->gpu_free = rwf_xcalloc((size_t)of->gpu_count + 1, sizeof(*ret->gpu_free));
    ret->gpu_whole = ret->gpu_most = 0;
    memcpy(ret->gpu, of->gpu, gpus);
    memcpy(ret->gpu_free, of->gpu, gpus);
    for (int i = 0; i < of->gpu_count; i++) {
        ret->gpu_whole += of->gpu[i] == SCHEDULE__UNIT;
        ret->gpu_most = of->gpu[i] > ret->gpu_most ? of->gpu[i] : ret->gpu_most;
    }
    ret->custom = rwf_xcalloc(of->custom_count + 1, sizeof(*ret->custom));
    for (size_t i = 0; i < of->custom_count; i++) {
        ret->custom[i] = of->custom[i];
        ret->custom[i].free = ret->custom[i].amount;
    }
}
