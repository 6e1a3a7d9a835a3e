/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a border goes when the text is normalized: before a character that leaves what precedes it
 * alone, NFC of both sides is NFC of the whole, and the border is between them. Elsewhere the part
 * between two such places is compared with the NFC of what is outside: as far as they agree, it is
 * outside still.
 */
#include "config.h"
#include "text/fence.h"

#include "base/mem.h"
#include "text/unicode.h"

size_t text__fence_at(const struct text__fence *f, const uint8_t *p)
{
    size_t low = 0, high = f->count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        if (f->base + f->ranges[mid].stop <= p)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct normal {
    const uint8_t *p;
    size_t len;
    struct rwf_str *out;
    size_t done;          /* bytes of p whose NFC is in out; a place where p may be cut */
    size_t part, part_at; /* the place before that, in p, and in out */
};

static bool may_cut(const struct normal *n, size_t at)
{
    return at == 0 || at >= n->len || text__nfc_safe(n->p + at);
}

static void put(struct normal *n, size_t stop)
{
    text__nfc(n->p + n->done, stop - n->done, n->out);
    n->done = stop;
}

/* Goes on until at is in what is done, from part on: part itself if the text may be cut there. */
static void put_until(struct normal *n, size_t at)
{
    size_t from = at, size;

    if (at < n->done)
        return;
    while (from > n->done && !may_cut(n, from))
        do
            from--;
        while ((n->p[from] & 0xC0) == 0x80);
    put(n, from);
    n->part = from;
    n->part_at = n->out->len;
    if (from == at)
        return;
    for (; !may_cut(n, at); at += size)
        text__decode(n->p + at, &size);
    put(n, at);
}

static size_t start_of(struct normal *n, size_t at)
{
    struct rwf_str before = {0};
    size_t same = 0;

    put_until(n, at);
    const char *part = n->out->data + n->part_at;
    size_t len = n->out->len - n->part_at;
    if (at == n->part)
        return n->part_at;
    text__nfc(n->p + n->part, at - n->part, &before);
    while (same < len && same < before.len && part[same] == before.data[same])
        same++;
    while (same > 0 && same < len && (part[same] & 0xC0) == 0x80)
        same--;
    rwf_str_free(&before);
    return n->part_at + same;
}

static size_t stop_of(struct normal *n, size_t at)
{
    struct rwf_str behind = {0};
    size_t same = 0;

    put_until(n, at);
    size_t len = n->out->len - n->part_at;
    if (at == n->part)
        return n->part_at;
    text__nfc(n->p + at, n->done - at, &behind);
    const char *end = n->out->data + n->out->len;
    while (same < len && same < behind.len &&
           end[-1 - (ptrdiff_t)same] == behind.data[behind.len - 1 - same])
        same++;
    while (same > 0 && (end[-(ptrdiff_t)same] & 0xC0) == 0x80)
        same--;
    rwf_str_free(&behind);
    return n->out->len - same;
}

/* Ranges that share a part may have grown into each other: they become one. */
static void add_range(struct tokenizer_ranges *list, size_t start, size_t stop)
{
    size_t first = start < stop ? start : stop, last = start < stop ? stop : start;

    while (list->count > 0 && list->items[list->count - 1].stop >= first) {
        const struct tokenizer_range *r = &list->items[--list->count];
        first = r->start < first ? r->start : first;
        last = r->stop > last ? r->stop : last;
    }
    *RWF_PUSH(list->items, list->count, list->cap) = (struct tokenizer_range){first, last};
}

void text__fence_nfc(const struct text__fence *f, const uint8_t *p, size_t len, struct rwf_str *out,
                     struct tokenizer_ranges *ret)
{
    struct normal n = {.p = p, .len = len, .out = out};

    for (size_t i = text__fence_at(f, p); i < f->count; i++) {
        const uint8_t *start = f->base + f->ranges[i].start, *stop = f->base + f->ranges[i].stop;
        if (start >= p + len)
            break;
        size_t first = start_of(&n, start > p ? (size_t)(start - p) : 0);
        add_range(ret, first, stop_of(&n, stop < p + len ? (size_t)(stop - p) : len));
    }
    put(&n, len);
}
