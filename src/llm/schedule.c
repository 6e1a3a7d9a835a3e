/* SPDX-License-Identifier: Apache-2.0
 *
 * A step is made in three passes over the order: those that generate, those with more
 * of their prompt to do, those that wait. Only the first two can put sequences back,
 * also ones that they have placed; so what they placed counts (commit) after both. None
 * is admitted in a step that put one back.
 */
#include "config.h"

#include "llm/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm/schedule_queue.h"

#define DEFERRED_MAX 16 /* of those that wait, passed over in a step */
#define RETRY_STEPS 8

struct llm_schedule {
    struct llm_schedule_options o;
    struct llm_blocks *blocks;
    struct llm_sequence **running; /* in order */
    int running_count;
    struct llm__queue waiting;
    uint64_t step, previous; /* the one in the making; the last that was not empty */
    uint64_t order;
    uint64_t preemptions, prefix_queries, prefix_hits;
};

/* A step in the making. */
struct round {
    struct llm_chosen *chosen; /* sequence NULL: was put back */
    int count, tokens;         /* tokens: still free */
    bool preempted;
};

static int blocks_for(int tokens)
{
    return (tokens + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
}

static int total(const struct llm_sequence *q)
{
    return q->count + q->pending;
}

/* Blocks that it still lacks for all that it is by now and the token after that. */
static int lacks(const struct llm_sequence *q)
{
    int need = blocks_for(total(q) + !q->embed) - q->block_count;

    return need > 0 ? need : 0;
}

/* --- running ones and their blocks --- */

static void run(struct llm_schedule *s, struct llm_sequence *q)
{
    int i = s->running_count++;

    for (; i > 0 && llm__before(q, s->running[i - 1]); i--)
        s->running[i] = s->running[i - 1];
    s->running[i] = q;
    q->place = LLM_PLACE_RUNNING;
}

static void stop_running(struct llm_schedule *s, struct llm_sequence *q)
{
    int i = s->running_count - 1;

    while (s->running[i] != q)
        i--;
    memmove(s->running + i, s->running + i + 1,
            (size_t)(s->running_count - i - 1) * sizeof(struct llm_sequence *));
    s->running_count--;
    q->place = LLM_PLACE_NONE;
}

/* Full blocks, known and computed (or about to be), are there for others from now on.
 */
static void learn(struct llm_schedule *s, struct llm_sequence *q)
{
    int full = (q->computed < q->count ? q->computed : q->count) / KERNEL_BLOCK;

    /* Pieces of a prompt that is told of overlap: a block would be written once more.
     */
    if (s->o.no_prefix_cache || (q->every && q->computed < q->prompt))
        return;
    for (; q->learned < full; q->learned++)
        q->prefix = llm_blocks_learn(s->blocks, q->blocks[q->learned], q->prefix,
                                     q->ids + q->learned * KERNEL_BLOCK, s->step);
}

static void let_go(struct llm_schedule *s, struct llm_sequence *q)
{
    learn(s, q);
    while (q->block_count > 0)
        llm_blocks_release(s->blocks, q->blocks[--q->block_count]);
    q->computed = q->learned = 0;
    q->prefix = LLM_PREFIX_NONE;
}

static void add_block(struct llm_sequence *q, int32_t block)
{
    q->blocks =
        rwf_grow(q->blocks, (size_t)q->block_count, &q->block_cap, sizeof(*q->blocks));
    q->blocks[q->block_count++] = block;
}

static void put_back(struct llm_schedule *s, struct round *r, struct llm_sequence *q)
{
    if (q->step == s->step) {
        r->tokens += r->chosen[q->row].count;
        r->chosen[q->row].sequence = NULL;
        q->step = 0;
    }
    stop_running(s, q);
    let_go(s, q);
    llm__queue_push(&s->waiting, q);
    q->preemptions++;
    s->preemptions++;
    r->preempted = true;
}

/* Blocks for so many tokens; false: q itself had to go. */
static bool make_room(struct llm_schedule *s, struct round *r, struct llm_sequence *q,
                      int tokens)
{
    int need = blocks_for(tokens) - q->block_count;

    while (need > llm_blocks_available(s->blocks)) {
        struct llm_sequence *victim = s->running[s->running_count - 1];

        rwf_assert(s->running_count > 1);
        put_back(s, r, victim);
        if (victim == q)
            return false;
    }
    while (need-- > 0)
        add_block(q, llm_blocks_take(s->blocks));
    return true;
}

/* --- a step --- */

static void place(struct llm_schedule *s, struct round *r, struct llm_sequence *q)
{
    int again = q->every && q->computed > 0 && q->computed < q->prompt;
    int count = llm_sequence_left(q);

    if (count > r->tokens - again)
        count = r->tokens - again;
    if (count <= 0 || !make_room(s, r, q, q->computed + count))
        return;
    r->chosen[r->count] = (struct llm_chosen){
        .sequence = q,
        .context = q->computed - again,
        .count = count + again,
        .from = q->step == s->previous ? q->row : -1,
    };
    r->tokens -= count + again;
    q->step = s->step;
    q->row = r->count++;
}

/* What was placed is done from now on. */
static void commit(struct llm_schedule *s, struct llm_chosen *c)
{
    struct llm_sequence *q = c->sequence;

    q->computed = c->context + c->count;
    c->unknown = c->context >= q->count;
    c->last = q->computed == total(q);
    c->drawn = total(q) - q->prompt;
    rwf_assert(!c->unknown || c->from >= 0);
    learn(s, q);
    if (c->last && !q->embed)
        q->pending++;
}

static void go_on(struct llm_schedule *s, struct round *r, bool prompts)
{
    for (int i = 0; i < s->running_count && r->tokens > 0; i++) {
        int left = llm_sequence_left(s->running[i]);

        if (left > 0 && (left > 1) == prompts)
            place(s, r, s->running[i]);
    }
}

static void commit_all(struct llm_schedule *s, struct round *r)
{
    int count = 0;

    for (int i = 0; i < r->count; i++) {
        if (!r->chosen[i].sequence)
            continue;
        r->chosen[count] = r->chosen[i];
        r->chosen[count].sequence->row = count;
        commit(s, &r->chosen[count++]);
    }
    r->count = count;
}

/* --- admission --- */

enum verdict { ADMITTED, PASSED_OVER, NO_ROOM };

/* Its first blocks, as far as they are learned, into q->blocks, not held yet; the last
 * token is never among them, as its successor is to be drawn. False: the next one is
 * filled in this very step. */
static bool find_prefix(struct llm_schedule *s, struct llm_sequence *q, int *ret_idle)
{
    int most = s->o.no_prefix_cache || q->every ? 0 : (q->count - 1) / KERNEL_BLOCK;
    llm_prefix prefix;

    *ret_idle = 0;
    while (q->block_count < most) {
        int32_t block = llm_blocks_find(
            s->blocks, q->prefix, q->ids + q->block_count * KERNEL_BLOCK, &prefix);

        if (block < 0)
            break;
        if (llm_blocks_stamp(s->blocks, block) == s->step)
            return false;
        *ret_idle += llm_blocks_idle(s->blocks, block);
        add_block(q, block);
        q->prefix = prefix;
    }
    return true;
}

static void drop_prefix(struct llm_sequence *q)
{
    q->block_count = 0;
    q->prefix = LLM_PREFIX_NONE;
}

static void admit(struct llm_schedule *s, struct round *r, struct llm_sequence *q)
{
    for (int i = 0; i < q->block_count; i++)
        llm_blocks_hold(s->blocks, q->blocks[i]);
    q->learned = q->block_count;
    q->computed = q->block_count * KERNEL_BLOCK;
    s->prefix_queries += (uint64_t)q->count;
    s->prefix_hits += (uint64_t)q->computed;
    if (q->cached < 0)
        q->cached = q->computed < q->prompt ? q->computed : q->prompt;
    llm__queue_remove(&s->waiting, q);
    run(s, q);
    place(s, r, q);
    if (q->step == s->step)
        commit(s, &r->chosen[q->row]);
}

/* reserved: blocks that those that run will need for what they already are. */
static enum verdict consider(struct llm_schedule *s, struct round *r,
                             struct llm_sequence *q, int reserved)
{
    int available = llm_blocks_available(s->blocks) - reserved;
    int idle;

    if (q->pending > 0)
        return PASSED_OVER;
    if (s->running_count > 0 && s->step < q->retry && available < q->need)
        return NO_ROOM;
    if (!find_prefix(s, q, &idle)) {
        drop_prefix(q);
        return PASSED_OVER;
    }
    q->need = lacks(q) + idle;
    if (s->running_count > 0)
        q->need += s->o.blocks / 100;
    if (available < q->need) {
        q->retry = s->step + RETRY_STEPS;
        drop_prefix(q);
        return NO_ROOM;
    }
    admit(s, r, q);
    return ADMITTED;
}

static void admit_waiting(struct llm_schedule *s, struct round *r)
{
    struct llm_sequence *passed[DEFERRED_MAX];
    int passed_count = 0, reserved = 0;
    enum verdict v = ADMITTED;

    for (int i = 0; i < s->running_count; i++)
        reserved += lacks(s->running[i]);
    while (v != NO_ROOM && s->running_count < s->o.max_sequences && r->tokens > 0 &&
           s->waiting.count > 0 && passed_count < DEFERRED_MAX) {
        struct llm_sequence *q = llm__queue_first(&s->waiting);

        v = consider(s, r, q, reserved);
        if (v == ADMITTED) {
            reserved += lacks(q);
        } else if (v == PASSED_OVER) {
            llm__queue_remove(&s->waiting, q);
            passed[passed_count++] = q;
        }
    }
    while (passed_count > 0)
        llm__queue_push(&s->waiting, passed[--passed_count]);
}

int llm_schedule_step(struct llm_schedule *s, struct llm_chosen *chosen)
{
    struct round r = {.chosen = chosen, .tokens = s->o.max_tokens};

    s->step++;
    go_on(s, &r, false);
    go_on(s, &r, true);
    commit_all(s, &r);
    if (!r.preempted)
        admit_waiting(s, &r);
    if (r.count > 0)
        s->previous = s->step;
    return r.count;
}

/* --- the whole --- */

void llm_schedule_add(struct llm_schedule *s, struct llm_sequence *q)
{
    q->order = ++s->order;
    llm__queue_push(&s->waiting, q);
}

void llm_schedule_remove(struct llm_schedule *s, struct llm_sequence *q)
{
    if (q->place == LLM_PLACE_RUNNING)
        stop_running(s, q);
    else if (q->place == LLM_PLACE_WAITING)
        llm__queue_remove(&s->waiting, q);
    let_go(s, q);
}

struct llm_sequence *llm_schedule_any(const struct llm_schedule *s)
{
    if (s->running_count > 0)
        return s->running[s->running_count - 1];
    return llm__queue_first(&s->waiting);
}

void llm_schedule_forget(struct llm_schedule *s)
{
    llm_blocks_forget(s->blocks);
    /* What they would add could not be found: the prefix is gone. */
    for (int i = 0; i < s->running_count; i++)
        s->running[i]->learned = INT32_MAX;
}

void llm_schedule_stats(const struct llm_schedule *s, struct llm_schedule_stats *ret)
{
    *ret = (struct llm_schedule_stats){
        .running = s->running_count,
        .waiting = (int)s->waiting.count,
        .blocks = s->o.blocks,
        .blocks_used = s->o.blocks - llm_blocks_available(s->blocks),
        .preemptions = s->preemptions,
        .prefix_queries = s->prefix_queries,
        .prefix_hits = s->prefix_hits,
    };
}

struct llm_schedule *llm_schedule_create(const struct llm_schedule_options *o)
{
    struct llm_schedule *s = rwf_xcalloc(1, sizeof(*s));

    s->o = *o;
    /* So that there is always a token for the one whose prompt is not done yet. */
    if (s->o.max_sequences > s->o.max_tokens)
        s->o.max_sequences = s->o.max_tokens;
    s->blocks = llm_blocks_create(o->blocks);
    s->running = rwf_xcalloc((size_t)s->o.max_sequences, sizeof(struct llm_sequence *));
    return s;
}

void llm_schedule_destroy(struct llm_schedule *s)
{
    if (!s)
        return;
    rwf_assert(!llm_schedule_any(s));
    llm_blocks_destroy(s->blocks);
    llm__queue_free(&s->waiting);
    free(s->running);
    free(s);
}
