/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm_mock.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct llm_mock llm_mock;

struct slot {
    int32_t id;
    uint64_t hash;
    long long step; /* that wrote it last */
};

/* What a row became when its step was begun. */
struct copy {
    struct llm_row row;
    int32_t *ids, *blocks;
    uint32_t *mask;
    struct kernel_edit *edits;
};

struct step {
    struct copy *rows;
    int count;
};

struct llm_model {
    int vocab, hidden, max_tokens, max_sequences, max_length;
    struct slot *slots;
    struct step steps[2];
    int under_way;
    bool poisoned; /* the step under way builds on one that failed */
    long long number;
    int32_t *last; /* drawn by the step done last, [max_sequences] */
    int last_count;
    float *logits;
    struct llm_logprob *logprobs;
    size_t logprob_count, logprob_cap;
    size_t *token_at, *prompt_at; /* where those of a row begin, + 1 */
};

static void bad(const char *what, long long a, long long b)
{
    if (atomic_fetch_add(&llm_mock.bad, 1) == 0)
        snprintf(llm_mock.what, sizeof(llm_mock.what), "%s (%lld, %lld)", what, a, b);
}

/* --- the rule --- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

uint64_t llm_mock_hash(uint64_t before, int32_t id)
{
    return mix(before * 3 + (uint64_t)id + 1);
}

float llm_mock_logit(uint64_t hash, int32_t id)
{
    return (float)(mix(hash ^ ((uint64_t)id << 40)) >> 48) / 4096.0f - 8.0f;
}

float llm_mock_embedding(uint64_t hash, int i)
{
    return (float)(mix(hash + (uint64_t)i) >> 40) / 16777216.0f;
}

static bool allowed(const struct llm_row *row, int32_t id)
{
    return !row->mask || row->mask[id / 32] >> id % 32 & 1;
}

static bool among_largest(const float *logits, int vocab, const struct llm_row *row,
                          int32_t id)
{
    int larger = 0;

    for (int32_t i = 0; row->top_k > 0 && i < vocab; i++)
        larger += allowed(row, i) &&
                  (logits[i] > logits[id] || (logits[i] == logits[id] && i < id));
    return row->top_k == 0 || larger < row->top_k;
}

int32_t llm_mock_draw(const float *logits, int vocab, const struct llm_row *row)
{
    uint64_t seed = mix(row->seed * 7 + row->step);
    int32_t best = -1;
    double most = -INFINITY;

    for (int32_t i = 0; i < vocab; i++) {
        double score = logits[i];

        if (isnan(score))
            return -1;
        if (!allowed(row, i) || score == -INFINITY)
            continue;
        if (row->temperature > 0) {
            double u =
                (double)((mix(seed + (uint64_t)i) >> 11) + 1) / 9007199254740993.0;

            if (!among_largest(logits, vocab, row, i))
                continue;
            score = score / row->temperature - log(-log(u));
        }
        if (score > most) {
            most = score;
            best = i;
        }
    }
    return best;
}

/* --- open and close --- */

struct llm_model *llm_model_open(const char *folder, const struct llm_config *config,
                                 const struct llm_model_options *o, struct rwf_err *err)
{
    struct llm_model *m;

    if (strcmp(folder, "missing") == 0) {
        rwf_fail(err, RWF_E_INPUT, "there is no folder '%s'", folder);
        return NULL;
    }
    m = rwf_xcalloc(1, sizeof(*m));
    m->vocab = (int)config->vocab;
    m->hidden = (int)config->hidden;
    m->max_tokens = o->max_tokens;
    m->max_sequences = o->max_sequences;
    m->max_length = o->max_length;
    m->slots = rwf_xcalloc((size_t)llm_mock.blocks * KERNEL_BLOCK, sizeof(*m->slots));
    m->last = rwf_xcalloc((size_t)o->max_sequences, sizeof(*m->last));
    m->token_at = rwf_xcalloc((size_t)o->max_sequences, sizeof(*m->token_at));
    m->prompt_at = rwf_xcalloc((size_t)o->max_sequences, sizeof(*m->prompt_at));
    for (int i = 0; i < 2; i++)
        m->steps[i].rows =
            rwf_xcalloc((size_t)o->max_sequences, sizeof(*m->steps[i].rows));
    m->logits = rwf_xcalloc((size_t)m->vocab, sizeof(*m->logits));
    atomic_fetch_add(&llm_mock.open, 1);
    return m;
}

void llm_model_close(struct llm_model *m)
{
    if (m->under_way)
        bad("closed with steps under way", m->under_way, 0);
    atomic_fetch_sub(&llm_mock.open, 1);
    for (int i = 0; i < 2; i++)
        free(m->steps[i].rows);
    free(m->slots);
    free(m->last);
    free(m->token_at);
    free(m->prompt_at);
    free(m->logits);
    free(m->logprobs);
    free(m);
}

int llm_model_blocks(const struct llm_model *m)
{
    (void)m;
    return llm_mock.blocks;
}

json_t *llm_model_memory(const struct llm_model *m)
{
    (void)m;
    return json_array();
}

/* --- begin --- */

static void *copy_of(const void *from, size_t size)
{
    void *copy = rwf_xmalloc(size ? size : 1);

    return from ? memcpy(copy, from, size) : copy;
}

static void copy_row(const struct llm_model *m, struct copy *c,
                     const struct llm_row *row)
{
    size_t blocks =
        (size_t)(row->context + row->count + KERNEL_BLOCK - 1) / KERNEL_BLOCK;

    *c = (struct copy){.row = *row};
    c->blocks = copy_of(row->blocks, blocks * sizeof(*c->blocks));
    c->row.blocks = c->blocks;
    if (row->ids)
        c->row.ids = c->ids = copy_of(row->ids, (size_t)row->count * sizeof(*c->ids));
    if (row->mask)
        c->row.mask = c->mask =
            copy_of(row->mask, (size_t)(m->vocab + 31) / 32 * sizeof(*c->mask));
    c->edits = copy_of(row->edits, (size_t)row->edit_count * sizeof(*c->edits));
    c->row.edits = c->edits;
    atomic_fetch_add(&llm_mock.copied_edits, row->edit_count);
}

static void free_rows(struct step *s)
{
    for (int i = 0; i < s->count; i++) {
        free(s->rows[i].ids);
        free(s->rows[i].blocks);
        free(s->rows[i].mask);
        free(s->rows[i].edits);
    }
    s->count = 0;
}

static void check_rows(const struct llm_model *m, const struct llm_row *rows, int count)
{
    int tokens = 0;

    if (count < 1 || count > m->max_sequences)
        bad("rows of a step", count, m->max_sequences);
    for (int i = 0; i < count; i++) {
        tokens += rows[i].count;
        if (rows[i].count < 1 || rows[i].context < 0)
            bad("tokens of a row", rows[i].count, rows[i].context);
        if (rows[i].context + rows[i].count > m->max_length)
            bad("longer than max_length", rows[i].context + rows[i].count,
                m->max_length);
        if (!rows[i].ids && (rows[i].count != 1 || !m->under_way || rows[i].from < 0))
            bad("an unknown token that no step draws", rows[i].count, rows[i].from);
        for (int e = 0; e < rows[i].edit_count; e++)
            for (int k = 0; k < e && rows[i].edit_count < 100; k++)
                if (rows[i].edits[e].id == rows[i].edits[k].id)
                    bad("two edits of a logit", rows[i].edits[e].id, i);
    }
    if (tokens > m->max_tokens)
        bad("tokens of a step", tokens, m->max_tokens);
    atomic_fetch_add(&llm_mock.tokens, tokens);
}

int llm_model_begin(struct llm_model *m, const struct llm_row *rows, int count,
                    struct rwf_err *err)
{
    struct step *s = &m->steps[m->under_way];

    if (m->under_way > 1)
        bad("begun with two under way", m->under_way, 0);
    if (atomic_load(&llm_mock.fail_begin) > 0) {
        atomic_fetch_sub(&llm_mock.fail_begin, 1);
        return rwf_fail(err, RWF_E_FAILED, "rope: the device could not begin");
    }
    check_rows(m, rows, count);
    for (int i = 0; i < count; i++)
        copy_row(m, &s->rows[i], &rows[i]);
    s->count = count;
    m->under_way++;
    atomic_fetch_add(&llm_mock.steps, 1);
    atomic_fetch_add(&llm_mock.rows, count);
    atomic_fetch_add(&llm_mock.overlapped, m->under_way == 2);
    return 0;
}

/* --- a step is done --- */

static struct slot *slot_of(struct llm_model *m, const struct llm_row *row,
                            int position)
{
    int32_t block = row->blocks[position / KERNEL_BLOCK];

    if (block < 0 || block >= llm_mock.blocks) {
        bad("no such block", block, position);
        block = 0;
    }
    return &m->slots[block * KERNEL_BLOCK + position % KERNEL_BLOCK];
}

static void write_row(struct llm_model *m, struct copy *c)
{
    const struct llm_row *row = &c->row;
    uint64_t hash = row->context ? slot_of(m, row, row->context - 1)->hash : 0;

    for (int i = 0; i < row->count; i++) {
        struct slot *s = slot_of(m, row, row->context + i);
        int32_t id = row->ids                    ? row->ids[i]
                     : row->from < m->last_count ? m->last[row->from]
                                                 : -1;

        if (id < 0 && !row->ids && row->from < m->last_count)
            id = 0; /* nothing could be drawn: what comes after does not matter */
        if (id < 0 || id >= m->vocab)
            bad("no such token", id, row->from);
        if (s->step == m->number)
            bad("two rows write a slot", row->context + i, m->number);
        hash = llm_mock_hash(hash, id);
        *s = (struct slot){.id = id, .hash = hash, .step = m->number};
    }
}

/* The hash of its whole context, as it lies in the slots. */
static uint64_t read_row(struct llm_model *m, const struct llm_row *row)
{
    uint64_t hash = 0;

    for (int i = 0; i < row->context + row->count; i++) {
        const struct slot *s = slot_of(m, row, i);

        hash = llm_mock_hash(hash, s->id);
        if (s->hash != hash)
            bad("a slot that does not follow the one before", i, row->context);
    }
    return hash;
}

static size_t add_logprobs(struct llm_model *m, int32_t id, int largest)
{
    size_t at = m->logprob_count;

    for (int k = 0; k <= largest; k++) {
        int32_t best = k == 0 ? id : -1;

        for (int32_t i = 0; k > 0 && i < m->vocab; i++) {
            bool taken = false;

            for (int t = 1; t < k; t++)
                taken |= m->logprobs[at + (size_t)t].id == i;
            if (!taken && (best < 0 || m->logits[i] > m->logits[best]))
                best = i;
        }
        *RWF_PUSH(m->logprobs, m->logprob_count, m->logprob_cap) =
            (struct llm_logprob){.id = best, .logprob = m->logits[best]};
    }
    return at + 1;
}

static void fill_logits(struct llm_model *m, uint64_t hash, const struct llm_row *row)
{
    for (int32_t i = 0; i < m->vocab; i++)
        m->logits[i] = atomic_load(&llm_mock.numb) ? NAN : llm_mock_logit(hash, i);
    for (int i = 0; row && i < row->edit_count; i++) {
        const struct kernel_edit *e = &row->edits[i];
        float x = m->logits[e->id];

        m->logits[e->id] = (x > 0 ? x / e->repeat : x * e->repeat) + e->add;
    }
}

/* Of each token given those before it; of the first of the row nothing is known: NaN.
 */
static size_t tell_all(struct llm_model *m, const struct llm_row *row)
{
    size_t at = m->logprob_count + 1;

    for (int i = 0; i < row->count; i++) {
        if (i == 0) {
            for (int k = 0; k <= row->logprobs; k++)
                *RWF_PUSH(m->logprobs, m->logprob_count, m->logprob_cap) =
                    (struct llm_logprob){.id = -1, .logprob = NAN};
            continue;
        }
        fill_logits(m, slot_of(m, row, row->context + i - 1)->hash, NULL);
        add_logprobs(m, slot_of(m, row, row->context + i)->id, row->logprobs);
    }
    return at;
}

static void draw_row(struct llm_model *m, int i, const struct llm_row *row,
                     struct llm_drawn *ret)
{
    uint64_t hash = read_row(m, row);

    *ret = (struct llm_drawn){.id = -1};
    m->token_at[i] = m->prompt_at[i] = 0;
    if (row->all_logprobs)
        m->prompt_at[i] = tell_all(m, row);
    for (int k = 0; row->embedding && k < m->hidden; k++)
        row->embedding[k] = llm_mock_embedding(hash, k);
    if (!row->wanted)
        return;
    fill_logits(m, hash, row);
    ret->id = llm_mock_draw(m->logits, m->vocab, row);
    atomic_fetch_add(&llm_mock.drawn, 1);
    if (row->logprobs >= 0 && ret->id >= 0) {
        m->token_at[i] = add_logprobs(m, ret->id, row->logprobs);
        ret->logprob_count = 1 + row->logprobs;
    }
}

static void do_step(struct llm_model *m, struct step *s, struct llm_drawn *ret)
{
    m->number++;
    m->logprob_count = 0;
    for (int i = 0; i < s->count; i++)
        write_row(m, &s->rows[i]);
    for (int i = 0; i < s->count; i++)
        draw_row(m, i, &s->rows[i].row, &ret[i]);
    for (int i = 0; i < s->count; i++) {
        m->last[i] = ret[i].id;
        if (m->token_at[i])
            ret[i].logprobs = m->logprobs + m->token_at[i] - 1;
        if (m->prompt_at[i])
            ret[i].prompt = m->logprobs + m->prompt_at[i] - 1;
    }
    m->last_count = s->count;
}

int llm_model_finish(struct llm_model *m, struct llm_drawn *ret, struct rwf_err *err)
{
    struct step older = m->steps[0];
    bool fails = m->poisoned || atomic_load(&llm_mock.fail_finish) > 0;

    if (m->under_way < 1)
        bad("finished with none under way", m->under_way, 0);
    while (atomic_load(&llm_mock.held))
        sched_yield();
    if (fails && !m->poisoned)
        atomic_fetch_sub(&llm_mock.fail_finish, 1);
    if (!fails)
        do_step(m, &older, ret);
    free_rows(&older);
    m->steps[0] = m->steps[1];
    m->steps[1] = older;
    m->under_way--;
    m->poisoned = fails && m->under_way > 0;
    if (fails) {
        m->last_count = 0;
        return rwf_fail(err, RWF_E_FAILED, "paged_attention: the device failed");
    }
    return 0;
}

int llm_model_step(struct llm_model *m, const struct llm_row *rows, int count,
                   struct llm_drawn *ret, struct rwf_err *err)
{
    if (llm_model_begin(m, rows, count, err) < 0)
        return -1;
    return llm_model_finish(m, ret, err);
}
