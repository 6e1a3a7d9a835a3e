/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts of a transformer: the tokenizer (a file, or trained on the training split
 * alone), and one pass over each split that writes the ids of all texts, each ended by
 * the end token. Texts are encoded as Hugging Face's tokenizers do: added tokens in
 * them are tokens.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "data/sql.h"
#include "train/prepare.h"
#include "train/tokens_pool.h"

#define TOKENS_BATCH (8 << 20) /* bytes of text that are encoded at a time */
#define TOKENS_FILE_MAX (512 << 20)
#define TOKENS_NARROW 65536 /* ids that fit into 16 bits */

static const char end_of_text[] = "<|endoftext|>";

/* --- which tokenizer --- */

/* path, or the tokenizer.json of the folder that it is. */
static char *tokenizer_file(const char *path)
{
    if (!rwf_fs_exists(path) || rwf_fs_is_file(path))
        return rwf_xstrdup(path);
    return rwf_fs_join(path, "tokenizer.json");
}

/* The tokenizer.json beside the weights that training starts from. */
static char *file_of_model(const char *from)
{
    char *folder = rwf_fs_is_file(from) ? rwf_fs_dirname(from) : rwf_xstrdup(from);
    char *path = rwf_fs_join(folder, "tokenizer.json");
    free(folder);
    return path;
}

int prepare__tokenizer(const struct prepare *p, char **ret_path, struct rwf_err *err)
{
    const char *path = json_string_value(prepare__get(p, "tokenizer", "path"));
    const char *type = json_string_value(prepare__get(p, "tokenizer", "type"));
    const char *from = json_string_value(prepare__get(p, "model", "from"));
    char *file = NULL;
    if (path != NULL)
        file = tokenizer_file(path);
    else if (type == NULL && from != NULL)
        file = file_of_model(from);
    else if (type == NULL)
        return rwf_fail(
            err, RWF_E_INPUT,
            "tokenizer: there is none: set tokenizer: {type: bpe, vocab_size: "
            "…} to train one, or {path: tokenizer.json}");
    else if (strcmp(type, "bpe") != 0)
        return rwf_fail(err, RWF_E_INPUT, "tokenizer.type: %s is not known: use bpe",
                        type);
    if (file != NULL && !rwf_fs_is_file(file)) {
        rwf_fail(err, RWF_E_INPUT, "%s: there is no file %s%s",
                 path != NULL ? "tokenizer.path" : "model.from", file,
                 path != NULL ? "" : ": set tokenizer");
        free(file);
        return -1;
    }
    *ret_path = file;
    return 0;
}

/* --- texts of a split --- */

struct reader {
    struct prepare *p;
    const struct prepare_split *split;
    int64_t rows, nulls, bytes, tokens;
    int64_t since;
    struct bpe_trainer *trainer;
    /* writing */
    struct tokens_pool *pool;
    struct prepare_sink sink;
    struct tokens_text *texts;
    size_t cap;
    uint16_t *narrow; /* ids as they are written, when 16 bits are enough */
    size_t narrow_cap;
    bool wide;
};

static void progress(struct reader *r)
{
    char text[96], size[RWF_UNITS_LEN];
    double seconds = (double)(rwf_clock_mono() - r->since) / 1e9;
    rwf_size_format(r->bytes, size);
    if (r->trainer != NULL)
        snprintf(text, sizeof(text), "%s of text", size);
    else
        snprintf(text, sizeof(text), "%.3g M tokens, %.3g M/s", (double)r->tokens / 1e6,
                 (double)r->tokens / 1e6 / (seconds > 0 ? seconds : 1));
    prepare__progress(r->p, r->split, r->rows, text);
}

static int train_chunk(void *ctx, const struct duck_column *columns, int64_t rows,
                       struct rwf_err *err)
{
    struct reader *r = ctx;
    (void)err;
    for (int64_t i = 0; i < rows; i++) {
        size_t len;
        if (duck_is_null(columns, i))
            continue;
        const char *text = duck_text(columns, i, &len);
        bpe_trainer_add(r->trainer, text, len);
        r->bytes += (int64_t)len;
    }
    r->rows += rows;
    progress(r);
    return 0;
}

static int write_ids(struct reader *r, const struct tokenizer_ids *ids,
                     struct rwf_err *err)
{
    r->tokens += (int64_t)ids->count;
    if (ids->count == 0)
        return 0;
    if (r->wide)
        return prepare__sink_add(&r->sink, ids->ids, ids->count * sizeof(*ids->ids),
                                 err);
    if (ids->count > r->narrow_cap) {
        r->narrow_cap = 2 * ids->count;
        r->narrow = rwf_xrealloc(r->narrow, r->narrow_cap * sizeof(*r->narrow));
    }
    for (size_t i = 0; i < ids->count; i++)
        r->narrow[i] = (uint16_t)ids->ids[i];
    return prepare__sink_add(&r->sink, r->narrow, ids->count * sizeof(*r->narrow), err);
}

static int encode(struct reader *r, size_t count, struct rwf_err *err)
{
    tokens_pool_encode(r->pool, r->texts, count);
    for (int i = 0; i < tokens_pool_lanes(r->pool); i++)
        if (write_ids(r, tokens_pool_ids(r->pool, i), err) < 0)
            return -1;
    progress(r);
    return 0;
}

static int encode_chunk(void *ctx, const struct duck_column *columns, int64_t rows,
                        struct rwf_err *err)
{
    struct reader *r = ctx;
    size_t count = 0, bytes = 0;
    for (int64_t i = 0; i < rows; i++) {
        r->rows++;
        if (duck_is_null(columns, i)) {
            r->nulls++;
            continue;
        }
        struct tokens_text *t = RWF_PUSH(r->texts, count, r->cap);
        t->text = duck_text(columns, i, &t->len);
        bytes += t->len;
        r->bytes += (int64_t)t->len;
        if (bytes >= TOKENS_BATCH) {
            if (encode(r, count, err) < 0)
                return -1;
            count = bytes = 0;
        }
    }
    return count > 0 ? encode(r, count, err) : 0;
}

/* The text column as a select list. */
static int text_list(struct prepare *p, const struct prepare_split *s, char **ret,
                     struct rwf_err *err)
{
    const char *name = json_string_value(prepare__get(p, "model", "text"));
    enum prepare_type type;
    struct rwf_str list = { 0 };
    name = name != NULL ? name : "text";
    if (prepare__column(s, name, &type, err) < 0)
        return rwf_wrap(err, "model.text");
    if (type != PREPARE_TEXT)
        return rwf_fail(err, RWF_E_INPUT,
                        "model.text: column %s of dataset.%s is %s, not text: name the "
                        "column with the text",
                        name, s->name, prepare__type_name(s, name));
    rwf_str_add(&list, "CAST(");
    sql_add_name(&list, name);
    rwf_str_add(&list, " AS VARCHAR)");
    *ret = rwf_str_take(&list);
    return 0;
}

static double rate(int64_t count, int64_t since)
{
    int64_t ns = rwf_clock_mono() - since;
    return (double)count / ((double)(ns > 0 ? ns : 1) / 1e9);
}

/* --- a tokenizer.json in the folder --- */

static int train(struct prepare *p, const char *path, struct rwf_err *err)
{
    json_int_t size = json_integer_value(prepare__get(p, "tokenizer", "vocab_size"));
    const char *const special[] = { end_of_text };
    struct reader r = { .p = p, .split = &p->train, .since = rwf_clock_mono() };
    char *list = NULL, *json = NULL;
    size_t len;
    int rc = -1;
    if (size <= 256 || size > INT32_MAX) {
        rwf_fail(
            err, RWF_E_INPUT,
            "tokenizer.vocab_size must be above 256: there is a token for each byte, "
            "and one that ends a text");
        goto out;
    }
    r.trainer = bpe_trainer_create((int32_t)size, special, RWF_COUNT(special), err);
    if (r.trainer == NULL || text_list(p, &p->train, &list, err) < 0)
        goto out;
    p->train.phase = "learning tokens of";
    if (prepare__stream(p, &p->train, list, train_chunk, &r, err) < 0)
        goto out;
    json = bpe_trainer_finish(r.trainer, &len, err);
    if (json == NULL) {
        rwf_wrap(err, "dataset.train");
        goto out;
    }
    rc = rwf_fs_write(path, json, len, true, err);
    if (rc == 0)
        prepare__note(p, "tokenizer: trained on %lld texts, %.1f MB (%.1f MB/s)",
                      (long long)r.rows, (double)r.bytes / 1e6,
                      rate(r.bytes, r.since) / 1e6);
out:
    bpe_trainer_destroy(r.trainer);
    free(list);
    free(json);
    return rc;
}

static int copy(const char *from, const char *to, struct rwf_err *err)
{
    size_t len;
    char *text = rwf_fs_read(from, TOKENS_FILE_MAX, &len, err);
    int r = text != NULL ? rwf_fs_write(to, text, len, true, err) : -1;
    free(text);
    return r;
}

static struct tokenizer *get_tokenizer(struct prepare *p, struct rwf_err *err)
{
    char *from = NULL, *path = rwf_fs_join(p->folder, "tokenizer.json");
    struct tokenizer *t = NULL;
    int r = prepare__tokenizer(p, &from, err);
    p->bytes_all =
        (from == NULL ? 2 : 1) * (double)p->train.bytes + (double)p->val.bytes;
    if (r == 0)
        r = from != NULL ? copy(from, path, err) : train(p, path, err);
    if (r == 0 && (t = tokenizer_open(path, err)) == NULL && from != NULL)
        rwf_wrap(err, "%s", from);
    free(from);
    free(path);
    return t;
}

/* --- the ids --- */

static int write_split(struct prepare *p, struct prepare_split *s,
                       struct tokens_pool *pool, bool wide, struct rwf_err *err)
{
    struct reader r = { .p = p, .split = s, .pool = pool, .wide = wide };
    char *list = NULL;
    int rc = text_list(p, s, &list, err);
    r.since = rwf_clock_mono();
    s->phase = "tokenising";
    if (rc == 0)
        rc = prepare__sink_open(p, &r.sink, s->name, "ids", err);
    if (rc == 0)
        rc = prepare__stream(p, s, list, encode_chunk, &r, err);
    if (rc == 0 && r.rows == r.nulls)
        rc = rwf_fail(err, RWF_E_INPUT, "dataset.%s has no %s", s->name,
                      r.rows > 0 ? "text: all of it is null" : "rows");
    if (rc == 0)
        rc = prepare__sink_close(&r.sink, err);
    if (rc == 0) {
        s->rows = r.rows;
        json_object_set_new(json_object_get(p->info, "splits"), s->name,
                            json_pack("{s:I}", "tokens", (json_int_t)r.tokens));
        prepare__note(p, "%s: %lld texts, %.1f MB, %lld tokens (%.2f M tokens/s)",
                      s->name, (long long)(r.rows - r.nulls), (double)r.bytes / 1e6,
                      (long long)r.tokens, rate(r.tokens, r.since) / 1e6);
        if (r.nulls > 0)
            prepare__note(p, "note: %lld of %lld texts of %s are null: passed over",
                          (long long)r.nulls, (long long)r.rows, s->name);
    }
    prepare__sink_abort(&r.sink);
    free(r.texts);
    free(r.narrow);
    free(list);
    return rc;
}

int prepare__tokens(struct prepare *p, struct rwf_err *err)
{
    struct tokenizer *t = get_tokenizer(p, err);
    struct tokens_pool *pool = NULL;
    int r = -1;
    if (t == NULL)
        return -1;
    int32_t vocab = tokenizer_count(t), end = tokenizer_end(t);
    bool wide = vocab > TOKENS_NARROW;
    if (end < 0) {
        rwf_fail(err, RWF_E_INPUT,
                 "tokenizer: it has no token that ends a text, neither %s "
                 "nor </s>",
                 end_of_text);
        goto out;
    }
    json_object_set_new(p->info, "kind", json_string("tokens"));
    json_object_set_new(p->info, "vocab", json_integer(vocab));
    json_object_set_new(p->info, "end", json_integer(end));
    json_object_set_new(p->info, "width", json_integer(wide ? 4 : 2));
    pool = tokens_pool_create(t, end, p->cores, err);
    if (pool != NULL)
        r = write_split(p, &p->train, pool, wide, err);
    if (r == 0 && p->has_val)
        r = write_split(p, &p->val, pool, wide, err);
out:
    tokens_pool_destroy(pool);
    tokenizer_close(t);
    return r;
}
