/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear probing; what is removed leaves no grave: those behind it move up.
 */
#include "config.h"
#include "schedule/ids.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static size_t home(const struct schedule__ids *m, uint64_t id)
{
    uint64_t h = id * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h ^ h >> 32) & (m->size - 1);
}

static size_t find(const struct schedule__ids *m, uint64_t id)
{
    size_t at = home(m, id);
    while (m->slots[at].id != 0 && m->slots[at].id != id)
        at = (at + 1) & (m->size - 1);
    return at;
}

void *schedule__ids_get(const struct schedule__ids *m, uint64_t id)
{
    return m->count == 0 || id == 0 ? NULL : m->slots[find(m, id)].value;
}

static void grow(struct schedule__ids *m)
{
    struct schedule__ids old = *m;
    m->size = old.size == 0 ? 16 : old.size * 2;
    m->slots = rwf_xcalloc(m->size, sizeof(*m->slots));
    for (size_t i = 0; i < old.size; i++)
        if (old.slots[i].id != 0)
            m->slots[find(m, old.slots[i].id)] = old.slots[i];
    free(old.slots);
}

void schedule__ids_add(struct schedule__ids *m, uint64_t id, void *value)
{
    if ((m->count + 1) * 2 > m->size)
        grow(m);
    size_t at = find(m, id);
    rwf_assert(id != 0 && m->slots[at].id == 0);
    m->slots[at] = (struct schedule__id){id, value};
    m->count++;
}

void schedule__ids_remove(struct schedule__ids *m, uint64_t id)
{
    if (m->count == 0 || id == 0)
        return;
    size_t hole = find(m, id), mask = m->size - 1;
    if (m->slots[hole].id == 0)
        return;
    m->count--;
    for (size_t at = (hole + 1) & mask; m->slots[at].id != 0; at = (at + 1) & mask) {
        size_t from = home(m, m->slots[at].id);
        /* it may move up when its home is not between the hole and itself */
        if (((at - from) & mask) >= ((at - hole) & mask)) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole] = (struct schedule__id){0, NULL};
}

void schedule__ids_free(struct schedule__ids *m)
{
    free(m->slots);
    memset(m, 0, sizeof(*m));
}
