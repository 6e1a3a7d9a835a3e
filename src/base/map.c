/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing over an array of entries in order of insertion. There is no removal:
 * nothing needs it. The hash is SipHash-1-3 (Aumasson, Bernstein 2012), seeded once.
 */
#include "config.h"

#include "base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"

struct entry {
    char *key;
    void *value;
    uint32_t hash;
    uint32_t len;
};

struct rwf_map {
    struct entry *entries;
    size_t count, cap;
    uint32_t *slots; /* index + 1 of an entry, 0: free; size is a power of two */
    size_t slot_count;
};

static uint64_t seed[2];

static void seed_once(void)
{
    if (seed[0] | seed[1])
        return;
    if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed)) {
        seed[0] = (uint64_t)rwf_clock_mono();
        seed[1] = (uint64_t)(uintptr_t)&seed;
    }
    seed[0] |= 1;
}

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = ROTL(v[1], 13) ^ v[0], v[0] = ROTL(v[0], 32);
    v[2] += v[3], v[3] = ROTL(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = ROTL(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = ROTL(v[1], 17) ^ v[2], v[2] = ROTL(v[2], 32);
}

static uint32_t hash_bytes(const char *bytes, size_t len)
{
    uint64_t v[4] = { seed[0] ^ 0x736f6d6570736575ull, seed[1] ^ 0x646f72616e646f6dull,
                      seed[0] ^ 0x6c7967656e657261ull, seed[1] ^ 0x7465646279746573ull };
    size_t whole = len & ~(size_t)7;
    uint64_t word;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, bytes + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)len << 56;
    for (size_t i = whole; i < len; i++)
        word |= (uint64_t)(unsigned char)bytes[i] << (8 * (i - whole));
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    sip_round(v), sip_round(v), sip_round(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

uint32_t rwf_map_hash(const char *key, size_t len)
{
    seed_once();
    return hash_bytes(key, len);
}

struct rwf_map *rwf_map_create(void)
{
    seed_once();
    return rwf_xcalloc(1, sizeof(struct rwf_map));
}

void rwf_map_destroy(struct rwf_map *m, void (*free_value)(void *))
{
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++) {
        if (free_value)
            free_value(m->entries[i].value);
        free(m->entries[i].key);
    }
    free(m->entries);
    free(m->slots);
    free(m);
}

/* The slot that holds key, or the free one where it belongs. */
static size_t find_slot(const struct rwf_map *m, const char *key, size_t len,
                        uint32_t hash)
{
    size_t mask = m->slot_count - 1, i = hash & mask;
    for (; m->slots[i]; i = (i + 1) & mask) {
        const struct entry *e = &m->entries[m->slots[i] - 1];
        if (e->hash == hash && e->len == len && memcmp(e->key, key, len) == 0)
            break;
    }
    return i;
}

static void grow_slots(struct rwf_map *m)
{
    free(m->slots);
    m->slot_count = m->slot_count ? m->slot_count * 2 : 16;
    m->slots = rwf_xcalloc(m->slot_count, sizeof(*m->slots));
    for (size_t i = 0; i < m->count; i++) {
        const struct entry *e = &m->entries[i];
        m->slots[find_slot(m, e->key, e->len, e->hash)] = (uint32_t)i + 1;
    }
}

void *rwf_map_set(struct rwf_map *m, const char *key, void *value)
{
    rwf_assert(value);
    if ((m->count + 1) * 4 > m->slot_count * 3)
        grow_slots(m);
    size_t len = strlen(key);
    uint32_t hash = hash_bytes(key, len);
    size_t slot = find_slot(m, key, len, hash);
    if (m->slots[slot]) {
        struct entry *e = &m->entries[m->slots[slot] - 1];
        void *old = e->value;
        e->value = value;
        return old;
    }
    rwf_assert(m->count < UINT32_MAX - 1 && len < UINT32_MAX);
    struct entry *e = RWF_PUSH(m->entries, m->count, m->cap);
    *e = (struct entry){ rwf_xstrndup(key, len), value, hash, (uint32_t)len };
    m->slots[slot] = (uint32_t)m->count;
    return NULL;
}

void *rwf_map_getn(const struct rwf_map *m, const char *key, size_t len)
{
    if (m->count == 0)
        return NULL;
    uint32_t at = m->slots[find_slot(m, key, len, hash_bytes(key, len))];
    return at ? m->entries[at - 1].value : NULL;
}

void *rwf_map_get(const struct rwf_map *m, const char *key)
{
    return rwf_map_getn(m, key, strlen(key));
}

size_t rwf_map_count(const struct rwf_map *m)
{
    return m->count;
}

const char *rwf_map_key_at(const struct rwf_map *m, size_t i)
{
    rwf_assert(i < m->count);
    return m->entries[i].key;
}

void *rwf_map_value_at(const struct rwf_map *m, size_t i)
{
    rwf_assert(i < m->count);
    return m->entries[i].value;
}
