/* SPDX-License-Identifier: Apache-2.0
 *
 * Normalization Form C. Decompositions and classes come from utf8proc, composition is
 * ours: Hugging Face tokenizers composes by the tables of Unicode 9, for which every
 * later character is inert (class 0, no composition), and utf8proc cannot be told so.
 * The text is cut before each character that neither reorders nor composes backwards;
 * only the parts that hold others are taken apart and put together again.
 */
#include "config.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "base/mem.h"

/* Characters after Unicode 9 that have a class or a composition, up to Unicode 16. */
static const struct {
    uint32_t first, last;
} inert[] = {
    {0x07FD, 0x07FD},   {0x0897, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x0ECE, 0x0ECE},
    {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},
    {0x105C0, 0x105F3}, {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC},
    {0x10EFC, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x11380, 0x113E2}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11938, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16100, 0x16139}, {0x16D40, 0x16D79}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F},
    {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
    {0x1E5EE, 0x1E5EF},
};

#define SBASE 0xAC00u
#define LBASE 0x1100u
#define VBASE 0x1161u
#define TBASE 0x11A7u
#define LCOUNT 19u
#define VCOUNT 21u
#define TCOUNT 28u
#define SCOUNT (LCOUNT * VCOUNT * TCOUNT)

/* Properties of a character: its combining class, and whether it can change. */
#define UNSAFE 0x100 /* it has another NFC, or composes with what precedes it */
#define DECOMPOSE 0x200

/* No character beyond plane 2 has a class or a decomposition. */
#define LAST_PLANE_END 0x30000u

static uint16_t page_of[0x1100];
static uint16_t (*pages)[256];
static size_t page_count, page_cap;

/* Pairs that compose: open addressing, at most half full. */
#define PAIRS 4096
static struct {
    uint32_t first, second, composed;
} pairs[PAIRS];
static size_t pair_count;

static unsigned props(uint32_t c)
{
    return pages[page_of[c >> 8]][c & 255];
}

static size_t pair_slot(uint32_t first, uint32_t second)
{
    return (size_t)((first * UINT64_C(0x9E3779B97F4A7C15) ^
                     second * UINT64_C(0xC2B2AE3D27D4EB4F)) >>
                    40) %
           PAIRS;
}

static void pair_add(uint32_t first, uint32_t second, uint32_t composed)
{
    size_t i = pair_slot(first, second);

    rwf_assert(++pair_count <= PAIRS / 2);
    while (pairs[i].composed)
        i = (i + 1) % PAIRS;
    pairs[i].first = first;
    pairs[i].second = second;
    pairs[i].composed = composed;
}

/* What first and second compose to; 0: nothing. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    if (first - LBASE < LCOUNT && second - VBASE < VCOUNT)
        return SBASE + ((first - LBASE) * VCOUNT + (second - VBASE)) * TCOUNT;
    if (first - SBASE < SCOUNT && (first - SBASE) % TCOUNT == 0 &&
        second - TBASE - 1 < TCOUNT - 1)
        return first + (second - TBASE);
    for (size_t i = pair_slot(first, second); pairs[i].composed; i = (i + 1) % PAIRS)
        if (pairs[i].first == first && pairs[i].second == second)
            return pairs[i].composed;
    return 0;
}

static bool is_inert(uint32_t c)
{
    for (size_t i = 0; i < RWF_COUNT(inert); i++)
        if (c >= inert[i].first && c <= inert[i].last)
            return true;
    return false;
}

#define MAX_PARTS 16

static size_t decompose(uint32_t c, utf8proc_int32_t *parts)
{
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, MAX_PARTS,
                                                 UTF8PROC_DECOMPOSE, &boundary);
    rwf_assert(n > 0 && n <= MAX_PARTS);
    return (size_t)n;
}

/* The one character that utf8proc's NFC makes of parts; 0 when it is not one. */
static uint32_t library_nfc(const utf8proc_int32_t *parts, size_t count)
{
    utf8proc_int32_t copy[MAX_PARTS];

    memcpy(copy, parts, count * sizeof(copy[0]));
    utf8proc_ssize_t n = utf8proc_normalize_utf32(copy, (utf8proc_ssize_t)count,
                                                  UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    return n == 1 ? (uint32_t)copy[0] : 0;
}

/* Notes the composition whose result is c, which has a canonical decomposition. Returns
 * the character that composes backwards in it, 0 when c is excluded from composition.
 */
static uint32_t note_composite(uint32_t c)
{
    utf8proc_int32_t parts[MAX_PARTS];
    size_t n = decompose(c, parts);

    if (n < 2 || library_nfc(parts, n) != c)
        return 0;
    uint32_t first = library_nfc(parts, n - 1);
    rwf_assert(first != 0);
    pair_add(first, (uint32_t)parts[n - 1], c);
    return (uint32_t)parts[n - 1];
}

static bool has_decomposition(uint32_t c)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);

    return (c - SBASE < SCOUNT) ||
           (p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0);
}

static void make_page(uint32_t high, uint16_t *page)
{
    for (uint32_t low = 0; low < 256; low++) {
        uint32_t c = high << 8 | low;
        const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
        unsigned v = (unsigned)p->combining_class & 0xFF;
        if (has_decomposition(c))
            v |= DECOMPOSE;
        if (v && is_inert(c))
            v = 0;
        page[low] = (uint16_t)v;
    }
}

static void mark_unsafe(uint32_t c)
{
    /* Pages are shared only while they are empty. */
    rwf_assert(page_of[c >> 8] != 0);
    pages[page_of[c >> 8]][c & 255] |= UNSAFE;
}

void text__nfc_init(void)
{
    uint16_t page[256];
    static const uint16_t empty[256];

    pages = rwf_grow(pages, page_count, &page_cap, sizeof(*pages));
    memset(pages[page_count++], 0, sizeof(*pages));
    for (uint32_t high = 0; high < LAST_PLANE_END >> 8; high++) {
        make_page(high, page);
        if (memcmp(page, empty, sizeof(page)) == 0 && high != LBASE >> 8)
            continue;
        pages = rwf_grow(pages, page_count, &page_cap, sizeof(*pages));
        memcpy(pages[page_count], page, sizeof(page));
        page_of[high] = (uint16_t)page_count++;
    }
    for (uint32_t c = 0; c < LAST_PLANE_END; c++) {
        if (!(props(c) & DECOMPOSE) || c - SBASE < SCOUNT)
            continue;
        uint32_t second = note_composite(c);
        mark_unsafe(second ? second : c);
    }
    for (uint32_t c = VBASE; c < VBASE + VCOUNT; c++)
        mark_unsafe(c);
    for (uint32_t c = TBASE + 1; c < TBASE + TCOUNT; c++)
        mark_unsafe(c);
}

bool text__nfc_quick(const uint8_t *p, size_t len)
{
    const uint8_t *end = p + len;
    unsigned last = 0;

    while (p < end) {
        size_t n;
        if (*p < 0x80) {
            p += text__ascii_prefix(p, (size_t)(end - p));
            last = 0;
            continue;
        }
        unsigned v = props(text__decode(p, &n));
        if (v & UNSAFE || ((v & 0xFF) && last > (v & 0xFF)))
            return false;
        last = v & 0xFF;
        p += n;
    }
    return true;
}

/* --- one part: taken apart, ordered, composed --- */

struct part {
    uint32_t *chars;
    size_t count, cap;
};

static void part_add(struct part *part, uint32_t c)
{
    utf8proc_int32_t parts[MAX_PARTS];
    size_t n = 1;

    parts[0] = (utf8proc_int32_t)c;
    if (props(c) & DECOMPOSE)
        n = decompose(c, parts);
    for (size_t i = 0; i < n; i++)
        *RWF_PUSH(part->chars, part->count, part->cap) = (uint32_t)parts[i];
}

/* Class above the place in the run, so that sorting keeps the order within a class. */
static int compare_marks(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void sort_marks(uint32_t *chars, size_t count)
{
    uint64_t few[32], *keys = few;
    uint32_t old[32], *copy = old;

    if (count > RWF_COUNT(few)) {
        keys = rwf_xmalloc(count * sizeof(*keys));
        copy = rwf_xmalloc(count * sizeof(*copy));
    }
    memcpy(copy, chars, count * sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        keys[i] = (uint64_t)(props(chars[i]) & 0xFF) << 48 | i;
    qsort(keys, count, sizeof(*keys), compare_marks);
    for (size_t i = 0; i < count; i++)
        chars[i] = copy[keys[i] & UINT64_C(0xFFFFFFFFFFFF)];
    if (keys != few) {
        free(keys);
        free(copy);
    }
}

static void part_order(struct part *part)
{
    for (size_t i = 0; i < part->count;) {
        size_t first = i;
        while (i < part->count && (props(part->chars[i]) & 0xFF))
            i++;
        if (i - first > 1)
            sort_marks(part->chars + first, i - first);
        if (i == first)
            i++;
    }
}

static void part_compose(struct part *part)
{
    size_t starter = SIZE_MAX, kept = 0;
    unsigned last = 0; /* class of what was kept last since the starter; 256: none */

    for (size_t i = 0; i < part->count; i++) {
        uint32_t c = part->chars[i];
        unsigned class = props(c) & 0xFF;
        bool adjacent = starter != SIZE_MAX && kept == starter + 1;
        bool blocked = starter == SIZE_MAX || (!adjacent && last >= class);
        uint32_t both = blocked ? 0 : compose(part->chars[starter], c);
        if (both) {
            part->chars[starter] = both;
            continue;
        }
        if (class == 0)
            starter = kept;
        last = class;
        part->chars[kept++] = c;
    }
    part->count = kept;
}

static void part_flush(struct part *part, struct rwf_str *out)
{
    uint8_t bytes[4];

    part_order(part);
    part_compose(part);
    for (size_t i = 0; i < part->count; i++)
        rwf_str_addn(out, (const char *)bytes, text__encode(part->chars[i], bytes));
    part->count = 0;
}

static bool is_safe(uint32_t c)
{
    return (props(c) & (UNSAFE | 0xFF)) == 0;
}

bool text__nfc_safe(const uint8_t *p)
{
    size_t n;

    return is_safe(text__decode(p, &n));
}

void text__nfc(const uint8_t *p, size_t len, struct rwf_str *out)
{
    const uint8_t *end = p + len, *plain = p, *safe = p;
    struct part part = {0};

    while (p < end) {
        size_t n;
        if (is_safe(text__decode(p, &n))) {
            safe = p;
            p += n;
            continue;
        }
        rwf_str_addn(out, (const char *)plain, (size_t)(safe - plain));
        /* From the last safe character to the next one. */
        for (p = safe; p < end; p += n) {
            uint32_t c = text__decode(p, &n);
            if (p > safe && is_safe(c))
                break;
            part_add(&part, c);
        }
        part_flush(&part, out);
        plain = safe = p;
    }
    rwf_str_addn(out, (const char *)plain, (size_t)(end - plain));
    free(part.chars);
}
