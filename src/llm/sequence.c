/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int32_t *copy_ids(const int32_t *ids, int count)
{
    int32_t *copy = rwf_xmalloc((size_t)(count ? count : 1) * sizeof(*copy));

    if (count)
        memcpy(copy, ids, (size_t)count * sizeof(*copy));
    return copy;
}

void llm_sequence_init(struct llm_sequence *s, const struct llm_sequence_options *o)
{
    struct llm_penalties_options p = {
        .repetition = o->repetition,
        .presence = o->presence,
        .frequency = o->frequency,
        .bias = o->bias,
        .bias_count = o->bias_count,
        .ends = o->ends,
        .end_count = o->least > 0 ? o->end_count : 0,
        .prompt = o->prompt,
        .prompt_count = o->prompt_count,
    };

    *s = (struct llm_sequence){.count = o->prompt_count, .prompt = o->prompt_count};
    s->ids = copy_ids(o->prompt, o->prompt_count);
    s->cap = (size_t)o->prompt_count;
    s->most = o->most;
    s->least = o->least;
    s->ends = copy_ids(o->ends, o->end_count);
    s->end_count = o->end_count;
    s->embed = o->embed;
    s->every = o->every;
    s->priority = o->priority;
    s->cached = -1;
    s->penalties = o->embed ? NULL : llm_penalties_create(&p);
}

void llm_sequence_free(struct llm_sequence *s)
{
    rwf_assert(s->place == LLM_PLACE_NONE && !s->block_count);
    llm_penalties_destroy(s->penalties);
    free(s->ids);
    free(s->ends);
    free(s->blocks);
}

int llm_sequence_left(const struct llm_sequence *s)
{
    int drawn = s->count - s->prompt + s->pending;

    if (!s->embed && drawn >= s->most)
        return 0;
    return s->count + s->pending - s->computed;
}

bool llm_sequence_follows(const struct llm_sequence *s)
{
    return llm_penalties_follow(s->penalties);
}

const struct kernel_edit *llm_sequence_edits(struct llm_sequence *s, int drawn,
                                             int *ret_count)
{
    if (drawn >= s->least)
        llm_penalties_allow_ends(s->penalties);
    return llm_penalties_edits(s->penalties, ret_count);
}

static bool is_end(const struct llm_sequence *s, int32_t id)
{
    for (int i = 0; i < s->end_count; i++)
        if (s->ends[i] == id)
            return true;
    return false;
}

enum llm_finish llm_sequence_accept(struct llm_sequence *s, int32_t id)
{
    rwf_assert(s->pending > 0);
    s->pending--;
    if (is_end(s, id))
        return LLM_STOP;
    s->ids = rwf_grow(s->ids, (size_t)s->count, &s->cap, sizeof(*s->ids));
    s->ids[s->count++] = id;
    llm_penalties_accept(s->penalties, id);
    return s->count - s->prompt >= s->most ? LLM_LENGTH : LLM_RUNNING;
}
