/* SPDX-License-Identifier: Apache-2.0
 *
 * Drawing a token without sorting the vocabulary. What decides is computed as sample.h
 * has it, so that the same token is drawn as by the reference; floats only rule out
 * those that cannot be the one.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_math.h"
#include "kernels/cpu/sample.h"
#include <stdlib.h>

#define BUCKETS 2048 /* of log p, for top_p */
#define PER_BUCKET (1 / 64.0)
#define WORTH 30000 /* logits that pay for waking a thread */

/* A row: what is known of it so far. */
struct row {
    const struct kernel_sample *s;
    int64_t number;
    const float *logits;
    const uint32_t *mask;
    float most; /* the largest logit */
    float temperature;
    /* Who is behind this one is out. */
    struct sample_token last;
};

struct sample {
    const struct kernel_sample *s;
    unsigned char *scratch;
    size_t room; /* of a thread */
};

/* --- lanes --- */

INLINE vi lanes(void)
{
    vi lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    return lane;
}

/* A bit for each lane whose mask is set. */
INLINE unsigned bits_of(vi mask)
{
#if LANES == 16
    return _mm512_movepi32_mask((__m512i)mask);
#elif LANES == 8
    return (unsigned)_mm256_movemask_ps((__m256)mask);
#else
    unsigned bits = 0;
    for (int i = 0; i < LANES; i++)
        bits |= (unsigned)(mask[i] & 1) << i;
    return bits;
#endif
}

/* LANES logits from i, those that are not allowed or not there -infinity. */
INLINE vf logits_at(const struct row *r, int64_t i, int64_t n)
{
    vf x = vget(r->logits, i, n, KERNEL_F32);
    if (n < LANES)
        x = vlanes(x, n, -INFINITY);
    if (r->mask == NULL)
        return x;
    vi bits = (vi){0} + (int)(r->mask[i / 32] >> (i % 32));
    return vpick((bits >> lanes() & 1) != 0, x, vsplat(-INFINITY));
}

/* --- the largest --- */

/* Whether it is a row to draw from, and the largest of its logits that are allowed. */
static bool largest(struct row *r)
{
    vi good = (vi){0} - 1;
    vf top = vsplat(-INFINITY);
    EACH(i, n, 0, r->s->vocab) {
        good &= vget(r->logits, i, n, KERNEL_F32) < INFINITY; /* nor a NaN */
        top = vmax(logits_at(r, i, n), top);
    }
    r->most = vmost(top);
    return bits_of(~good) == 0 && r->most > -INFINITY;
}

static int32_t first_of(const struct row *r, float logit)
{
    EACH(i, n, 0, r->s->vocab) {
        unsigned found = bits_of(logits_at(r, i, n) == logit);
        if (found != 0)
            return (int32_t)i + __builtin_ctz(found);
    }
    return -1;
}

/* --- the top_k largest --- */

static void swap(struct sample_token *a, struct sample_token *b)
{
    struct sample_token x = *a;
    *a = *b;
    *b = x;
}

/* Moves the k first of n in their order to the front. */
static void select_first(struct sample_token *t, int64_t n, int64_t k)
{
    int rounds = 0;
    while (n > k && k > 0) {
        if (n < 16 || ++rounds > 50) { /* unlucky all the time */
            qsort(t, (size_t)n, sizeof(*t), sample_order);
            return;
        }
        swap(&t[n / 2], &t[n - 1]);
        int64_t before = 0;
        for (int64_t i = 0; i < n - 1; i++)
            if (sample_order(&t[i], &t[n - 1]) < 0)
                swap(&t[i], &t[before++]);
        swap(&t[before], &t[n - 1]);
        if (before >= k) {
            n = before;
        } else {
            t += before + 1;
            n -= before + 1;
            k -= before + 1;
        }
    }
}

/* The k largest tokens, in order; how many there are. */
static int64_t top_tokens(const struct row *r, struct sample_token *t, int64_t k)
{
    int64_t count = 0, room = 2 * k + 1024;
    float least = -INFINITY; /* those of before are k larger ones, or equal and first */
    EACH(i, n, 0, r->s->vocab) {
        vf x = logits_at(r, i, n);
        for (unsigned b = bits_of(x > least); b != 0; b &= b - 1) {
            int64_t id = i + __builtin_ctz(b);
            t[count++] = (struct sample_token){r->logits[id], (int32_t)id};
        }
        if (count + LANES > room) {
            select_first(t, count, k);
            count = k;
            least = INFINITY;
            for (int64_t j = 0; j < k; j++)
                least = t[j].logit < least ? t[j].logit : least;
        }
    }
    if (count > k) {
        select_first(t, count, k);
        count = k;
    }
    qsort(t, (size_t)count, sizeof(*t), sample_order);
    return count;
}

/* --- min_p and top_p over all --- */

static double log_of(const struct row *r, float logit)
{
    return sample_log(logit, r->most, r->temperature);
}

static int bucket_of(double log_p)
{
    return (int)(log_p / -PER_BUCKET);
}

/* Sums of weights by log p; all of them together. Behind the buckets all weights are 0.
 */
static uint64_t fill_buckets(const struct row *r, uint64_t *sums, double least)
{
    const double end = -PER_BUCKET * (BUCKETS - 1);
    uint64_t all = 0;
    least = least > end ? least : end;
    memset(sums, 0, BUCKETS * sizeof(*sums));
    EACH(i, n, 0, r->s->vocab) {
        vf x = logits_at(r, i, n);
        for (unsigned b = bits_of(x > -INFINITY); b != 0; b &= b - 1) {
            double log_p = log_of(r, r->logits[i + __builtin_ctz(b)]);
            if (log_p >= least) {
                uint64_t weight = sample_weight(log_p);
                sums[bucket_of(log_p)] += weight;
                all += weight;
            }
        }
    }
    return all;
}

static int64_t tokens_of_bucket(const struct row *r, struct sample_token *t, int bucket,
                                double least)
{
    int64_t count = 0;
    EACH(i, n, 0, r->s->vocab) {
        vf x = logits_at(r, i, n);
        for (unsigned b = bits_of(x > -INFINITY); b != 0; b &= b - 1) {
            int64_t id = i + __builtin_ctz(b);
            double log_p = log_of(r, r->logits[id]);
            if (log_p >= least && log_p > -PER_BUCKET * BUCKETS &&
                bucket_of(log_p) == bucket)
                t[count++] = (struct sample_token){r->logits[id], (int32_t)id};
        }
    }
    qsort(t, (size_t)count, sizeof(*t), sample_order);
    return count;
}

/* The last token that min_p and top_p leave. */
static void find_last(struct row *r, struct sample_token *t, uint64_t *sums)
{
    const float top_p = r->s->top_p[r->number];
    double least = log((double)r->s->min_p[r->number]);
    uint64_t all = fill_buckets(r, sums, least), sum = 0;
    double wanted = (double)top_p * (double)all;
    int bucket = 0;
    while (bucket < BUCKETS - 1 && (double)(sum + sums[bucket]) < wanted)
        sum += sums[bucket++];
    int64_t n = tokens_of_bucket(r, t, bucket, least), i = 0;
    for (; i < n - 1; i++) {
        sum += sample_weight(log_of(r, t[i].logit));
        if ((double)sum >= wanted)
            break;
    }
    r->last = t[i];
}

/* --- drawing of all that are left --- */

/* Far more than floats can be wrong by: rather one token too many is looked at. */
#define SLACK 1e-3f

/* Words of the tokens of a vector from id. */
static void words_at(const struct row *r, uint32_t words[LANES], int64_t id)
{
    uint64_t seed = r->s->seed[r->number], step = r->s->step[r->number];
    for (int j = 0; j < LANES; j += 4)
        philox(words + j, seed, (uint64_t)(id + j) / 4, step);
}

struct best {
    int32_t id;
    double key;
};

static void try_token(const struct row *r, struct best *b, int64_t id, uint32_t word,
                      double least)
{
    struct sample_token t = {r->logits[id], (int32_t)id};
    double log_p = log_of(r, t.logit);
    if (log_p < least || sample_order(&t, &r->last) > 0)
        return;
    double key = sample_key(log_p, word);
    if (key > b->key || (key == b->key && t.id < b->id))
        *b = (struct best){t.id, key};
}

/* A token beats the best key only if 1 - u <= -log(u) <= e^(log p - key). */
static int32_t draw_any(const struct row *r)
{
    double least = log((double)r->s->min_p[r->number]);
    struct best b = {INT32_MAX, -INFINITY};
    int32_t id = first_of(r, r->most);
    try_token(r, &b, id, sample_word(r->s->seed[r->number], r->s->step[r->number], id),
              least);
    float inverse = 1 / (r->temperature > 1e-37f ? r->temperature : 1e-37f);
    EACH(i, n, 0, r->s->vocab) {
        uint32_t words[LANES];
        vf x = (logits_at(r, i, n) - r->most) * inverse;
        vf chance = vexp(x - ((float)b.key - SLACK));
        if (bits_of(chance >= 0x1p-34f) == 0)
            continue;
        words_at(r, words, i);
        vu word;
        memcpy(&word, words, sizeof(word));
        vf rest = __builtin_convertvector((vi)(~word >> 1), vf) * 0x1p-31f;
        for (unsigned hit = bits_of(rest <= chance); hit != 0; hit &= hit - 1) {
            int j = __builtin_ctz(hit);
            if (j < n && sample_allowed(r->mask, i + j))
                try_token(r, &b, i + j, words[j], least);
        }
    }
    return b.id;
}

static int32_t draw_row(struct row *r, void *room)
{
    const struct kernel_sample *s = r->s;
    struct sample_token *t = room;
    int64_t k = s->top_k[r->number];
    if (!largest(r))
        return -1;
    if (r->temperature == 0)
        return first_of(r, r->most);
    if (k > 0 && k < s->vocab) {
        int64_t n = sample_keep(s, r->number, t, top_tokens(r, t, k));
        return sample_draw(s, r->number, t, n, r->most);
    }
    r->last = (struct sample_token){-INFINITY, INT32_MAX};
    if (s->top_p[r->number] < 1)
        find_last(r, t, (uint64_t *)(t + s->vocab + s->vocab % 2));
    return draw_any(r);
}

static size_t room_of(int64_t vocab)
{
    return (size_t)(vocab + vocab % 2) * sizeof(struct sample_token) +
           BUCKETS * sizeof(uint64_t);
}

static void sample_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct sample *p = arg;
    const struct kernel_sample *s = p->s;
    for (int64_t i = from; i < to; i++) {
        struct row r = {.s = s, .number = i, .logits = s->logits + i * s->stride};
        r.mask = sample_mask(s, i);
        r.temperature = s->temperature[i];
        s->ids[i] = draw_row(&r, p->scratch + (size_t)thread * p->room);
    }
}

static void sample(struct kernel_context *c, const struct kernel_sample *s,
                   void *scratch)
{
    struct sample p = {s, scratch, room_of(s->vocab)};
    cpu__split(c, s->rows, 1 + WORTH / (s->vocab + 1), sample_part, &p);
}

static size_t sample_scratch(struct kernel_context *c, int rows, int64_t vocab)
{
    (void)rows;
    return (size_t)pool_threads(c->pool) * room_of(vocab);
}

void FAST(fill_sample)(struct kernels *k)
{
    k->sample = sample;
    k->sample_scratch = sample_scratch;
}
