/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoding and decoding. Text goes through: added tokens as they stand, normalization,
 * added tokens that are searched after it, the pattern, merges. Bytes that are not
 * UTF-8 stand alone, between texts that are.
 */
#include "config.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fs.h"
#include "base/mem.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#define MAX_FILE ((size_t)1 << 30)

/* What one call of encode needs for itself; kept for the next one. */
struct tokenizer__work {
    struct tokenizer__work *next;
    struct bpe__scratch *scratch;
    void *match_data;
    struct rwf_str nfc;
    struct tokenizer_ranges ranges; /* in nfc */
};

struct call {
    const struct tokenizer *t;
    struct tokenizer__work *work;
    struct tokenizer_ids *out;
    bool plain;
    struct text__fence fence;
    const uint8_t *end; /* of the bytes that may be read */
};

struct tokenizer *tokenizer_parse(const char *json, size_t len, const char *name,
                                  struct rwf_err *err)
{
    struct tokenizer *t = rwf_xcalloc(1, sizeof(*t));

    text__unicode_init();
    pthread_mutex_init(&t->lock, NULL);
    if (tokenizer__load(t, json, len, err) == 0)
        return t;
    rwf_wrap(err, "tokenizer %s", name);
    tokenizer_close(t);
    return NULL;
}

struct tokenizer *tokenizer_open(const char *path, struct rwf_err *err)
{
    char *file = rwf_xstrdup(path), *json;
    struct tokenizer *t = NULL;
    struct stat st;
    size_t len;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        free(file);
        file = rwf_fs_join(path, "tokenizer.json");
    }
    json = rwf_fs_read(file, MAX_FILE, &len, err);
    if (json)
        t = tokenizer_parse(json, len, file, err);
    else if (err)
        err->code = RWF_E_INPUT;
    free(json);
    free(file);
    return t;
}

static void work_destroy(struct tokenizer__work *w)
{
    bpe__scratch_destroy(w->scratch);
    text__match_free(w->match_data);
    rwf_str_free(&w->nfc);
    free(w->ranges.items);
    free(w);
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    for (struct tokenizer__work *w = t->idle, *next; w; w = next) {
        next = w->next;
        work_destroy(w);
    }
    for (size_t i = 0; i < t->step_count; i++)
        text__step_free(&t->steps[i]);
    free(t->steps);
    rwf_map_destroy(t->ids, NULL);
    free(t->special);
    added__destroy(t->raw);
    added__destroy(t->normalized);
    bpe__destroy(t->bpe);
    free(t->bytes);
    free(t->offsets);
    free(t->before.ids);
    free(t->after.ids);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int32_t tokenizer_count(const struct tokenizer *t)
{
    return t->count;
}

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    return (int32_t)(intptr_t)rwf_map_get(t->ids, token) - 1;
}

int32_t tokenizer_end(const struct tokenizer *t)
{
    int32_t id = tokenizer_id(t, "<|endoftext|>");

    return id >= 0 ? id : tokenizer_id(t, "</s>");
}

/* --- encoding --- */

static struct tokenizer__work *work_take(const struct tokenizer *t)
{
    struct tokenizer *idle = (struct tokenizer *)t; /* the list is all that changes */

    pthread_mutex_lock(&idle->lock);
    struct tokenizer__work *w = idle->idle;
    if (w)
        idle->idle = w->next;
    pthread_mutex_unlock(&idle->lock);
    if (!w) {
        w = rwf_xcalloc(1, sizeof(*w));
        w->scratch = bpe__scratch_create();
    }
    return w;
}

static void work_give(const struct tokenizer *t, struct tokenizer__work *w)
{
    struct tokenizer *idle = (struct tokenizer *)t;

    pthread_mutex_lock(&idle->lock);
    w->next = idle->idle;
    idle->idle = w;
    pthread_mutex_unlock(&idle->lock);
}

static void put_id(void *ctx, int32_t id)
{
    struct tokenizer_ids *out = ((struct call *)ctx)->out;

    bpe__room(out, 1);
    out->ids[out->count++] = id;
}

static void put_word(void *ctx, const uint8_t *word, size_t len)
{
    struct call *c = ctx;

    bpe__word(c->t->bpe, c->work->scratch, word, len, (size_t)(c->end - (word + len)),
              c->out);
}

static void split_text(void *ctx, const uint8_t *p, size_t len)
{
    struct call *c = ctx;

    if (c->t->step_count != 1 || !c->t->steps[0].word) {
        text__split(c->t->steps, c->t->step_count, p, len, &c->work->match_data,
                    put_word, c);
        return;
    }
    /* The common case, without a call back for each word. */
    text__word_fn next = c->t->steps[0].word;
    for (const uint8_t *end = p + len; p < end; p += len) {
        len = next(p, end);
        bpe__word(c->t->bpe, c->work->scratch, p, len, (size_t)(c->end - (p + len)),
                  c->out);
    }
}

static void cut_or_split(struct call *c, const uint8_t *p, size_t len)
{
    struct added__sink sink = {split_text, put_id, c};

    if (c->plain || added__count(c->t->normalized) == 0)
        split_text(c, p, len);
    else
        added__cut(c->t->normalized, p, len, &c->fence, &sink);
}

static void normalize_text(void *ctx, const uint8_t *p, size_t len)
{
    struct call *c = ctx;
    const uint8_t *end = c->end;
    const struct text__fence fence = c->fence;

    if (!c->t->nfc || text__nfc_quick(p, len)) {
        cut_or_split(c, p, len);
        return;
    }
    struct rwf_str *nfc = &c->work->nfc;
    rwf_str_clear(nfc);
    if (fence.count == 0 || added__count(c->t->normalized) == 0) {
        text__nfc(p, len, nfc);
    } else {
        struct tokenizer_ranges *moved = &c->work->ranges;
        moved->count = 0;
        text__fence_nfc(&fence, p, len, nfc, moved);
        c->fence = (struct text__fence){(const uint8_t *)nfc->data, moved->items, moved->count};
    }
    c->end = (const uint8_t *)nfc->data + nfc->len;
    cut_or_split(c, (const uint8_t *)nfc->data, nfc->len);
    c->end = end;
    c->fence = fence;
}

static void encode(const struct tokenizer *t, const char *text, size_t len, bool plain,
                   const struct tokenizer_ranges *fenced, struct tokenizer_ids *out)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len;
    struct call c = {
        .t = t, .work = work_take(t), .out = out, .plain = plain, .end = end};
    if (fenced)
        c.fence = (struct text__fence){p, fenced->items, fenced->count};
    struct added__sink sink = {normalize_text, put_id, &c};

    while (p < end) {
        size_t valid = text__valid_prefix(p, (size_t)(end - p));
        if (plain || added__count(t->raw) == 0)
            normalize_text(&c, p, valid);
        else
            added__cut(t->raw, p, valid, &c.fence, &sink);
        p += valid;
        if (p < end)
            bpe__byte(t->bpe, *p++, out);
    }
    work_give(t, c.work);
}

void tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                      struct tokenizer_ids *out)
{
    encode(t, text, len, false, NULL, out);
}

void tokenizer_encode_fenced(const struct tokenizer *t, const char *text, size_t len,
                             const struct tokenizer_ranges *plain, struct tokenizer_ids *out)
{
    encode(t, text, len, false, plain, out);
}

static void add_ids(struct tokenizer_ids *out, const struct tokenizer_ids *more)
{
    for (size_t i = 0; i < more->count; i++)
        *RWF_PUSH(out->ids, out->count, out->cap) = more->ids[i];
}

void tokenizer_encode_framed(const struct tokenizer *t, const char *text, size_t len,
                             struct tokenizer_ids *out)
{
    add_ids(out, &t->before);
    encode(t, text, len, false, NULL, out);
    add_ids(out, &t->after);
}

void tokenizer_encode_plain(const struct tokenizer *t, const char *text, size_t len,
                            struct tokenizer_ids *out)
{
    encode(t, text, len, true, NULL, out);
}

/* --- decoding --- */

bool tokenizer_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->count && t->special[id];
}

void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count,
                      struct rwf_str *out)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= t->count)
            continue;
        size_t start = t->offsets[ids[i]];
        rwf_str_addn(out, t->bytes + start, t->offsets[ids[i] + 1] - start);
    }
}
