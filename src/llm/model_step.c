/* SPDX-License-Identifier: Apache-2.0
 *
 * A step from the caller's rows to what they get: everything that goes in is packed
 * into one buffer and uploaded at once, the kernels are queued, and of what comes out
 * the host takes a few ids (and the logits of rows that want log-probabilities). Two
 * steps take turns, so that one is prepared while the other runs; the ids that one
 * draws go into the next on the device.
 */
#include "config.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm/model_inside.h"

#define NOT_DRAWN INT32_MIN /* what the host has where no id came yet */

/* --- shape --- */

/* Few bounds, so that few steps are recorded. */
static int bound_of(const struct llm_model *m, int longest)
{
    int64_t bound = 512;
    while (bound < longest)
        bound *= 2;
    return bound < m->o.max_length ? (int)bound : m->o.max_length;
}

static int new_tokens(const struct llm_row *r)
{
    return r->ids != NULL ? r->count : 1;
}

static void shape(const struct llm_model *m, struct llm_pass *p,
                  const struct llm_row *rows, int count)
{
    int total = 0;
    p->most = 1;
    p->longest = 1;
    p->prompts = 0;
    p->ends = m->observe == NULL;
    for (int i = 0; i < count; i++) {
        int n = new_tokens(&rows[i]);
        rwf_assert(n >= 1 && rows[i].context >= 0 &&
                   rows[i].context + n <= m->o.max_length);
        total += n;
        p->most = n > p->most ? n : p->most;
        p->prompts += n > 1;
        if (rows[i].context + n > p->longest)
            p->longest = rows[i].context + n;
        p->ends = p->ends && !rows[i].all_logprobs;
    }
    p->ends = p->ends && p->most > 1;
    rwf_assert(total <= m->sizes.rows && count <= m->sizes.sequences);
    int padded = p->most == 1 ? llm__padded(count) : count;
    if (p->most == 1) {
        total = padded;
        p->longest = bound_of(m, p->longest);
    }
    llm__layout(&p->at, total, padded, (p->longest + KERNEL_BLOCK - 1) / KERNEL_BLOCK);
}

/* --- what the layers look at --- */

struct packer {
    int32_t *ids, *positions, *slots, *first, *context, *blocks;
    int stride, row, sequence;
};

static struct packer packer_of(struct llm_step *s)
{
    const struct llm_layout *l = &s->pass.at;
    return (struct packer){
        .ids = (void *)(s->in + l->ids),
        .positions = (void *)(s->in + l->positions),
        .slots = (void *)(s->in + l->slots),
        .first = (void *)(s->in + l->first),
        .context = (void *)(s->in + l->context),
        .blocks = (void *)(s->in + l->blocks),
        .stride = l->stride,
    };
}

static void pack_row(struct packer *p, const struct llm_row *r)
{
    int n = new_tokens(r), end = r->context + n;
    p->first[p->sequence] = p->row;
    p->context[p->sequence] = end;
    memcpy(p->blocks + (size_t)p->sequence * (size_t)p->stride, r->blocks,
           (size_t)((end + KERNEL_BLOCK - 1) / KERNEL_BLOCK) * sizeof(*r->blocks));
    for (int i = 0; i < n; i++, p->row++) {
        int at = r->context + i;
        p->ids[p->row] = r->ids != NULL ? r->ids[i] : 0;
        p->positions[p->row] = at;
        p->slots[p->row] =
            r->blocks[at / KERNEL_BLOCK] * KERNEL_BLOCK + at % KERNEL_BLOCK;
    }
    p->sequence++;
}

/* A sequence of context 0, whose one row is computed for nothing. */
static void pack_padding(struct packer *p)
{
    p->first[p->sequence] = p->row;
    p->context[p->sequence++] = 0;
    p->ids[p->row] = p->positions[p->row] = 0;
    p->slots[p->row++] = -1;
}

/* For the rest of the last layer: the last row of each sequence, and those rows as
 * sequences of one token. */
static void pack_ends(struct llm_step *s, int count)
{
    int32_t *last = (void *)(s->in + s->pass.at.last);
    int32_t *each = (void *)(s->in + s->pass.at.each);
    for (int i = 0; i < llm__padded(count); i++)
        last[i] = s->rows[i < count ? i : 0].last;
    for (int i = 0; i <= count; i++)
        each[i] = i;
}

static void pack_rows(struct llm_step *s, const struct llm_row *rows, int count)
{
    struct packer p = packer_of(s);
    for (int i = 0; i < count; i++) {
        pack_row(&p, &rows[i]);
        s->rows[i].last = p.row - 1;
    }
    while (p.sequence < s->pass.at.sequences)
        pack_padding(&p);
    p.first[p.sequence] = p.row;
    if (s->pass.ends)
        pack_ends(s, count);
}

/* --- what is drawn --- */

static bool is_drawn(const struct llm_row *r)
{
    return r->wanted && r->embedding == NULL;
}

/* Gives rows their places among those whose state is wanted: first those that are
 * drawn. */
static void place_rows(struct llm_step *s, const struct llm_row *rows, int count)
{
    s->gathered = s->draws = s->masks = 0;
    for (int i = 0; i < count; i++) {
        s->rows[i].draw = is_drawn(&rows[i]) ? s->draws++ : -1;
        s->rows[i].gathered = s->rows[i].draw;
        s->masks += is_drawn(&rows[i]) && rows[i].mask != NULL;
    }
    s->gathered = s->draws;
    for (int i = 0; i < count; i++)
        if (rows[i].embedding != NULL)
            s->rows[i].gathered = s->gathered++;
    s->whole = (s->pass.most == 1 || s->pass.ends) && s->draws == count;
}

static void pack_draw(struct llm_step *s, const struct llm_row *r, int at, int *masks,
                      int64_t vocab)
{
    const struct llm_layout *l = &s->pass.at;
    size_t words = (size_t)((vocab + 31) / 32);
    ((float *)(void *)(s->in + l->temperature))[at] = r->temperature;
    ((float *)(void *)(s->in + l->top_p))[at] = r->top_p;
    ((float *)(void *)(s->in + l->min_p))[at] = r->min_p;
    ((int32_t *)(void *)(s->in + l->top_k))[at] = r->top_k;
    ((uint64_t *)(void *)(s->in + l->seed))[at] = r->seed;
    ((uint64_t *)(void *)(s->in + l->step))[at] = r->step;
    ((int32_t *)(void *)(s->in + l->mask_row))[at] = r->mask != NULL ? *masks : -1;
    if (r->mask != NULL)
        memcpy(s->in + l->mask + (size_t)(*masks)++ * words * sizeof(*r->mask), r->mask,
               words * sizeof(*r->mask));
}

static void pack_draws(struct llm_model *m, struct llm_step *s,
                       const struct llm_row *rows, int count)
{
    int masks = 0, prompts = 0;
    for (int i = 0; i < count; i++)
        prompts += rows[i].all_logprobs;
    place_rows(s, rows, count);
    llm__layout_draws(&s->pass.at, s->gathered + (prompts > 0 ? m->sizes.sequences : 0),
                      s->draws, s->masks, m->config.vocab);
    rwf_assert((int64_t)s->pass.at.end <= m->sizes.in);
    for (int i = 0; i < count; i++) {
        if (s->rows[i].gathered >= 0)
            ((int32_t *)(void *)(s->in + s->pass.at.gather))[s->rows[i].gathered] =
                s->pass.ends ? i : s->rows[i].last;
        if (s->rows[i].draw >= 0)
            pack_draw(s, &rows[i], s->rows[i].draw, &masks, m->config.vocab);
    }
}

/* --- edits --- */

static int edit_room(struct llm_model *m, struct llm_step *s, int64_t count,
                     struct rwf_err *err)
{
    const struct kernels *k = m->d->k;
    size_t bytes = (size_t)count * 2 * sizeof(struct kernel_edit);
    if (count > m->edit_room) { /* both steps may use it: wait for them */
        if (device_sync(m->d, err) != 0)
            return -1;
        k->free(m->d->c, m->edits);
        m->edit_room = 0;
        m->edits = device_alloc(m->d, bytes, "penalties", err);
        if (m->edits == NULL)
            return -1;
        m->edit_room = 2 * count;
    }
    if (count > s->edit_room) {
        if (s->edit != NULL)
            k->free_host(m->d->c, s->edit);
        s->edit_room = 0;
        s->edit = k->alloc_host(m->d->c, bytes);
        if (s->edit == NULL)
            return rwf_fail(err, RWF_E_FIT, "no host memory for %lld penalties",
                            (long long)count);
        s->edit_room = 2 * count;
    }
    return 0;
}

static int pack_edits(struct llm_model *m, struct llm_step *s,
                      const struct llm_row *rows, int count, struct rwf_err *err)
{
    int64_t total = 0;
    for (int i = 0; i < count; i++)
        total += s->rows[i].draw >= 0 ? rows[i].edit_count : 0;
    s->edits = 0;
    if (total > 0 && edit_room(m, s, total, err) != 0)
        return -1;
    for (int i = 0; i < count && total > 0; i++)
        for (int j = 0; s->rows[i].draw >= 0 && j < rows[i].edit_count; j++) {
            s->edit[s->edits] = rows[i].edits[j];
            s->edit[s->edits++].row = s->rows[i].draw;
        }
    return 0;
}

/* --- queueing --- */

/* Ids that the step before draws, in runs: usually one. */
static void carry_drawn(struct llm_model *m, struct llm_step *s,
                        const struct llm_row *rows, int count)
{
    const struct llm_step *before = &m->steps[1 - m->current];
    int32_t *ids = (void *)(m->b.in + s->pass.at.ids);
    for (int i = 0, n; i < count; i += n) {
        n = 1;
        if (rows[i].ids != NULL)
            continue;
        rwf_assert(before->begun && rows[i].from >= 0 && rows[i].from < before->count);
        int from = before->rows[rows[i].from].draw;
        rwf_assert(from >= 0);
        while (i + n < count && rows[i + n].ids == NULL &&
               s->rows[i + n].last == s->rows[i].last + n &&
               before->rows[rows[i + n].from].draw == from + n)
            n++;
        m->d->k->copy(m->d->c, ids + s->rows[i].last, m->b.drawn + from,
                      (size_t)n * sizeof(*ids));
    }
}

static void sample(struct llm_model *m, const struct llm_step *s)
{
    const struct llm_layout *l = &s->pass.at;
    char *in = m->b.in;
    const float *temperature = (const void *)(s->in + l->temperature);
    bool greedy = true;
    for (int i = 0; i < s->draws; i++)
        greedy = greedy && temperature[i] == 0;
    const struct kernel_sample a = {
        .rows = s->draws,
        .greedy = greedy,
        .vocab = m->config.vocab,
        .stride = m->config.vocab,
        .logits = m->b.logits,
        .temperature = (void *)(in + l->temperature),
        .top_p = (void *)(in + l->top_p),
        .min_p = (void *)(in + l->min_p),
        .top_k = (void *)(in + l->top_k),
        .seed = (void *)(in + l->seed),
        .step = (void *)(in + l->step),
        .mask_row = s->masks > 0 ? (void *)(in + l->mask_row) : NULL,
        .mask = s->masks > 0 ? (void *)(in + l->mask) : NULL,
        .ids = m->b.drawn,
    };
    m->d->k->sample(m->d->c, &a, m->b.sample);
}

static int logits_room(struct llm_model *m, struct llm_step *s, int64_t rows,
                       struct rwf_err *err)
{
    if (rows <= s->logits_rows)
        return 0;
    if (s->logits != NULL)
        m->d->k->free_host(m->d->c, s->logits);
    s->logits_rows = 0;
    s->logits =
        m->d->k->alloc_host(m->d->c, (size_t)(rows * m->config.vocab) * sizeof(float));
    if (s->logits == NULL)
        return rwf_fail(err, RWF_E_FIT, "no host memory for the logits of %lld tokens",
                        (long long)rows);
    s->logits_rows = rows;
    return 0;
}

/* The logits of rows that want log-probabilities go to the host. */
static int take_logits(struct llm_model *m, struct llm_step *s,
                       const struct llm_row *rows, int count, struct rwf_err *err)
{
    int64_t wanted = 0, vocab = m->config.vocab;
    for (int i = 0; i < count; i++) {
        s->rows[i].logprobs = rows[i].logprobs;
        s->rows[i].logits = -1;
        if (s->rows[i].draw >= 0 && rows[i].logprobs >= 0)
            s->rows[i].logits = (int)wanted++;
    }
    if (logits_room(m, s, wanted, err) != 0)
        return -1;
    for (int i = 0; i < count; i++)
        if (s->rows[i].logits >= 0)
            m->d->k->download(m->d->c, s->logits + s->rows[i].logits * vocab,
                              m->b.logits + s->rows[i].draw * vocab,
                              (size_t)vocab * sizeof(float));
    return 0;
}

static int take_states(struct llm_model *m, struct llm_step *s,
                       const struct llm_row *rows, int count, const void *states,
                       struct rwf_err *err)
{
    size_t bytes = (size_t)m->config.hidden * kernel_size(m->o.type);
    for (int i = 0; i < count; i++) {
        s->rows[i].embedding = rows[i].embedding;
        if (rows[i].embedding == NULL)
            continue;
        if (s->states == NULL)
            s->states =
                m->d->k->alloc_host(m->d->c, (size_t)m->sizes.sequences * bytes);
        if (s->states == NULL)
            return rwf_fail(err, RWF_E_FIT, "no host memory for embeddings");
        size_t at = (size_t)s->rows[i].gathered * bytes;
        m->d->k->download(m->d->c, s->states + at, (const char *)states + at, bytes);
    }
    return 0;
}

/* From the last layer's output to ids on their way to the host. */
static int queue_head(struct llm_model *m, struct llm_step *s,
                      const struct llm_row *rows, int count, struct rwf_err *err)
{
    const struct kernels *k = m->d->k;
    const void *states = NULL;
    if (s->gathered > 0)
        states = llm__head(
            m, &s->pass, s->whole ? NULL : (void *)(m->b.in + s->pass.at.gather),
            s->gathered, s->draws);
    if (s->edits > 0) {
        k->upload(m->d->c, m->edits, s->edit, (size_t)s->edits * sizeof(*s->edit));
        k->edit(m->d->c, m->b.logits, m->config.vocab, m->edits, s->edits);
    }
    if (s->draws > 0) {
        sample(m, s);
        s->drawn[0] = NOT_DRAWN;
        k->download(m->d->c, s->drawn, m->b.drawn,
                    (size_t)s->draws * sizeof(*s->drawn));
    }
    if (take_logits(m, s, rows, count, err) != 0)
        return -1;
    return take_states(m, s, rows, count, states, err);
}

/* --- log-probabilities of prompts --- */

static struct llm_logprob *logprob_room(struct llm_step *s, size_t count)
{
    if (s->logprob_count + count > s->logprob_cap) {
        s->logprob_cap = (s->logprob_count + count) * 2;
        s->logprobs = rwf_xrealloc(s->logprobs, s->logprob_cap * sizeof(*s->logprobs));
    }
    s->logprob_count += count;
    return s->logprobs + s->logprob_count - count;
}

/* Logits after tokens first .. first + n - 1 of a row say how likely the tokens behind
 * are. */
static int prompt_part(struct llm_model *m, struct llm_step *s, const struct llm_row *r,
                       int last, int first, int n, struct llm_logprob *to,
                       struct rwf_err *err)
{
    const struct kernels *k = m->d->k;
    int64_t vocab = m->config.vocab;
    size_t at = s->pass.at.gather + (size_t)s->gathered * sizeof(int32_t);
    int32_t *rows = (void *)(s->in + at);
    for (int i = 0; i < n; i++)
        rows[i] = last - (r->count - 1) + first + i;
    k->upload(m->d->c, m->b.in + at, rows, (size_t)n * sizeof(*rows));
    llm__head(m, &s->pass, (void *)(m->b.in + at), n, n);
    k->download(m->d->c, s->logits, m->b.logits, (size_t)(n * vocab) * sizeof(float));
    if (device_sync(m->d, err) != 0)
        return -1;
    for (int i = 0; i < n; i++)
        llm__logprobs(s->logits + i * vocab, vocab, r->ids[first + i + 1], r->logprobs,
                      to + (size_t)(first + i + 1) * (size_t)(1 + r->logprobs));
    return 0;
}

static int prompt_logprobs(struct llm_model *m, struct llm_step *s,
                           const struct llm_row *r, struct llm_placed *p,
                           struct rwf_err *err)
{
    int most = m->sizes.sequences < 64 ? m->sizes.sequences : 64;
    size_t each = 1 + (size_t)r->logprobs, at = s->logprob_count;
    struct llm_logprob *to = logprob_room(s, (size_t)r->count * each);
    p->prompt = 1 + at;
    for (size_t i = 0; i < each; i++)
        to[i] = (struct llm_logprob){i == 0 ? r->ids[0] : -1, NAN};
    if (logits_room(m, s, most, err) != 0)
        return -1;
    for (int first = 0; first + 1 < r->count; first += most) {
        int n = r->count - 1 - first < most ? r->count - 1 - first : most;
        if (prompt_part(m, s, r, p->last, first, n, to, err) != 0)
            return -1;
    }
    return 0;
}

static int all_prompt_logprobs(struct llm_model *m, struct llm_step *s,
                               const struct llm_row *rows, int count,
                               struct rwf_err *err)
{
    s->logprob_count = 0;
    for (int i = 0; i < count; i++) {
        s->rows[i].prompt = 0;
        if (rows[i].all_logprobs && rows[i].ids != NULL && rows[i].logprobs >= 0 &&
            prompt_logprobs(m, s, &rows[i], &s->rows[i], err) != 0)
            return -1;
    }
    return 0;
}

/* --- both halves --- */

static int queue_layers(struct llm_model *m, struct llm_step *s, struct rwf_err *err)
{
    if (s->pass.most == 1)
        return llm__layers_decode(m, &s->pass, err);
    if (llm__attention_room(m, &s->pass, err) != 0)
        return -1;
    llm__layers(m, &s->pass);
    return 0;
}

int llm_model_begin(struct llm_model *m, const struct llm_row *rows, int count,
                    struct rwf_err *err)
{
    struct llm_step *s = &m->steps[m->current];
    rwf_assert(!s->begun && count >= 1);
    shape(m, &s->pass, rows, count);
    pack_rows(s, rows, count);
    pack_draws(m, s, rows, count);
    if (pack_edits(m, s, rows, count, err) != 0)
        return -1;
    m->d->k->upload(m->d->c, m->b.in, s->in, s->pass.at.end);
    carry_drawn(m, s, rows, count);
    if (queue_layers(m, s, err) != 0 ||
        all_prompt_logprobs(m, s, rows, count, err) != 0 ||
        queue_head(m, s, rows, count, err) != 0)
        return -1;
    m->d->k->mark(m->d->c, m->current);
    s->count = count;
    s->begun = true;
    m->current = 1 - m->current;
    return 0;
}

static void tell_embedding(const struct llm_model *m, const struct llm_step *s,
                           const struct llm_placed *p)
{
    size_t width = (size_t)m->config.hidden;
    const char *state =
        s->states + (size_t)p->gathered * width * kernel_size(m->o.type);
    for (size_t i = 0; i < width; i++) {
        uint32_t bits = 0;
        uint16_t half;
        if (m->o.type == KERNEL_F32) {
            memcpy(&bits, state + i * sizeof(bits), sizeof(bits));
        } else {
            memcpy(&half, state + i * sizeof(half), sizeof(half));
            bits = (uint32_t)half << 16;
        }
        memcpy(&p->embedding[i], &bits, sizeof(bits));
    }
}

static void tell(struct llm_model *m, struct llm_step *s, struct llm_drawn *ret)
{
    size_t total = 0;
    for (int i = 0; i < s->count; i++)
        if (s->rows[i].logits >= 0)
            total += 1 + (size_t)s->rows[i].logprobs;
    struct llm_logprob *to =
        logprob_room(s, total); /* moves them: before any is told */
    for (int i = 0; i < s->count; i++) {
        const struct llm_placed *p = &s->rows[i];
        ret[i] = (struct llm_drawn){.id = p->draw >= 0 ? s->drawn[p->draw] : -1};
        if (p->prompt > 0)
            ret[i].prompt = s->logprobs + p->prompt - 1;
        if (p->embedding != NULL)
            tell_embedding(m, s, p);
        if (p->logits < 0)
            continue;
        ret[i].logprobs = to;
        ret[i].logprob_count = 1 + p->logprobs;
        llm__logprobs(s->logits + p->logits * m->config.vocab, m->config.vocab,
                      ret[i].id, p->logprobs, to);
        to += 1 + p->logprobs;
    }
}

int llm_model_finish(struct llm_model *m, struct llm_drawn *ret, struct rwf_err *err)
{
    int number = m->steps[m->current].begun ? m->current : 1 - m->current;
    struct llm_step *s = &m->steps[number];
    rwf_assert(s->begun);
    m->d->k->wait(m->d->c, number);
    s->begun = false;
    if (s->draws > 0 && s->drawn[0] == NOT_DRAWN) {
        if (device_sync(m->d, err) == 0)
            rwf_fail(err, RWF_E_FAILED, "%s: a step gave no tokens", m->d->info.name);
        return -1;
    }
    tell(m, s, ret);
    return 0;
}

int llm_model_step(struct llm_model *m, const struct llm_row *rows, int count,
                   struct llm_drawn *ret, struct rwf_err *err)
{
    if (llm_model_begin(m, rows, count, err) != 0)
        return -1;
    return llm_model_finish(m, ret, err);
}
