/* SPDX-License-Identifier: Apache-2.0
 *
 * The block manager against a slow model of it: which blocks are held, what each of
 * them is known to hold, which one is dropped when room is needed.
 */
#include "config.h"

#include "llm/blocks.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "llm_engine_rig.h"

#define BLOCKS 12
#define DEPTH 5 /* blocks of a text */

/* The slow model: each block's whole text, as one letter per block before it and for
 * itself. */
struct slow {
    int refs[BLOCKS];
    char text[BLOCKS][DEPTH + 1]; /* "": not learned */
    llm_prefix prefix[BLOCKS];
    int idle[BLOCKS],
        idle_count; /* learned ones, in the order in which they were let go */
};

struct pair {
    struct llm_blocks *real;
    struct slow slow;
    uint64_t state, stamp;
};

static void ids_of(char letter, int32_t ids[KERNEL_BLOCK])
{
    for (int i = 0; i < KERNEL_BLOCK; i++)
        ids[i] = i == KERNEL_BLOCK - 1 ? letter : 1;
}

static int slow_find(const struct slow *s, const char *text)
{
    for (int i = 0; i < BLOCKS; i++)
        if (text[0] && strcmp(s->text[i], text) == 0)
            return i;
    return -1;
}

static int slow_available(const struct slow *s)
{
    int count = 0;

    for (int i = 0; i < BLOCKS; i++)
        count += s->refs[i] == 0;
    return count;
}

static void slow_unidle(struct slow *s, int block)
{
    int to = 0;

    for (int i = 0; i < s->idle_count; i++)
        if (s->idle[i] != block)
            s->idle[to++] = s->idle[i];
    s->idle_count = to;
}

/* Any that holds nothing, else the one that was let go first. */
static void slow_take(struct slow *s, int block)
{
    bool empty = false;

    for (int i = 0; i < BLOCKS; i++)
        empty |= s->refs[i] == 0 && !s->text[i][0];
    ck_assert_int_eq(s->refs[block], 0);
    if (empty)
        ck_assert_str_eq(s->text[block], "");
    else
        ck_assert_int_eq(block, s->idle[0]);
    slow_unidle(s, block);
    s->text[block][0] = '\0';
    s->refs[block] = 1;
}

static void take(struct pair *p)
{
    int32_t block = llm_blocks_take(p->real);

    if (slow_available(&p->slow) == 0)
        ck_assert_int_eq(block, -1);
    else
        slow_take(&p->slow, block);
}

static void release(struct pair *p, int block)
{
    struct slow *s = &p->slow;

    llm_blocks_release(p->real, block);
    if (--s->refs[block] == 0 && s->text[block][0])
        s->idle[s->idle_count++] = block;
}

static void hold(struct pair *p, int block)
{
    llm_blocks_hold(p->real, block);
    if (p->slow.refs[block]++ == 0)
        slow_unidle(&p->slow, block);
}

/* Walks the text block by block; what is found is what the model has, and no more. */
static int walk(struct pair *p, const char *text, llm_prefix *ret_prefix)
{
    llm_prefix prefix = LLM_PREFIX_NONE;
    int depth = 0;

    for (; text[depth]; depth++) {
        char before[DEPTH + 1] = "";
        int32_t ids[KERNEL_BLOCK], found;
        int expected;

        memcpy(before, text, (size_t)depth + 1);
        expected = slow_find(&p->slow, before);
        ids_of(text[depth], ids);
        found = llm_blocks_find(p->real, prefix, ids, &prefix);
        if (found < 0 &&
            expected >= 0) /* was learned after a block before it that is gone */
            ck_assert_int_ge(depth, 1);
        if (found < 0)
            break;
        ck_assert_int_eq(found, expected);
        ck_assert_uint_eq(prefix, p->slow.prefix[found]);
        ck_assert_int_eq(llm_blocks_idle(p->real, found), p->slow.refs[found] == 0);
    }
    *ret_prefix = prefix;
    return depth;
}

static void random_text(struct pair *p, char text[DEPTH + 1])
{
    int length = 1 + (int)(rig_random(&p->state) % DEPTH);

    for (int i = 0; i < length; i++)
        text[i] = (char)('a' + rig_random(&p->state) % 3);
    text[length] = '\0';
}

/* What follows the longest known beginning of a text goes to a held block without
 * content. */
static void learn(struct pair *p, int block)
{
    char text[DEPTH + 1];
    int32_t ids[KERNEL_BLOCK];
    llm_prefix before, prefix;
    int depth;

    if (p->slow.refs[block] == 0 || p->slow.text[block][0])
        return;
    random_text(p, text);
    depth = walk(p, text, &before);
    if (!text[depth])
        return;
    text[depth + 1] = '\0';
    if (slow_find(&p->slow, text) >= 0)
        return; /* an orphan of that text: its place is not to be known twice in the
                   model */
    ids_of(text[depth], ids);
    prefix = llm_blocks_learn(p->real, block, before, ids, ++p->stamp);
    ck_assert_uint_gt(prefix, before);
    ck_assert_uint_eq(llm_blocks_stamp(p->real, block), p->stamp);
    strcpy(p->slow.text[block], text);
    p->slow.prefix[block] = prefix;
}

static void forget(struct pair *p)
{
    llm_blocks_forget(p->real);
    p->slow.idle_count = 0;
    for (int i = 0; i < BLOCKS; i++)
        p->slow.text[i][0] = '\0';
}

static void act(struct pair *p)
{
    int block = (int)(rig_random(&p->state) % BLOCKS);
    uint64_t what = rig_random(&p->state) % 100;
    char text[DEPTH + 1];
    llm_prefix prefix;

    if (what < 30)
        take(p);
    else if (what < 55 && p->slow.refs[block] > 0)
        release(p, block);
    else if (what < 65 && (p->slow.refs[block] > 0 || p->slow.text[block][0]))
        hold(p, block);
    else if (what < 98)
        learn(p, block);
    else if (what == 99 && rig_random(&p->state) % 20 == 0)
        forget(p);
    random_text(p, text);
    walk(p, text, &prefix);
    ck_assert_int_eq(llm_blocks_available(p->real), slow_available(&p->slow));
}

START_TEST(test_model)
{
    struct pair p = {.real = llm_blocks_create(BLOCKS), .state = (uint64_t)_i};

    ck_assert_int_eq(llm_blocks_count(p.real), BLOCKS);
    for (int i = 0; i < 20000; i++)
        act(&p);
    llm_blocks_destroy(p.real);
}
END_TEST

/* The same ids after another text are another block, and a copy does not replace what
 * is known. */
START_TEST(test_content)
{
    struct llm_blocks *b = llm_blocks_create(4);
    int32_t one[KERNEL_BLOCK], two[KERNEL_BLOCK];
    int32_t first = llm_blocks_take(b), second = llm_blocks_take(b),
            copy = llm_blocks_take(b);
    llm_prefix p, q, got = 99;

    ids_of('a', one);
    ids_of('b', two);
    p = llm_blocks_learn(b, first, LLM_PREFIX_NONE, one, 1);
    q = llm_blocks_learn(b, second, p, two, 2);
    ck_assert_int_eq(llm_blocks_find(b, LLM_PREFIX_NONE, two, &got), -1);
    ck_assert_int_eq(llm_blocks_find(b, q, two, &got), -1);
    ck_assert_uint_eq(got, 99);
    ck_assert_int_eq(llm_blocks_find(b, p, two, &got), second);
    ck_assert_uint_eq(got, q);
    ck_assert_uint_eq(llm_blocks_learn(b, copy, LLM_PREFIX_NONE, one, 3), p);
    ck_assert_int_eq(llm_blocks_find(b, LLM_PREFIX_NONE, one, &got), first);
    llm_blocks_release(b, copy);
    llm_blocks_release(b, second);
    llm_blocks_release(b, first);
    ck_assert_int_eq(llm_blocks_available(b), 4);
    /* Two have no content and go first; then what was let go first. */
    for (int i = 0; i < 2; i++)
        llm_blocks_take(b);
    ck_assert_int_eq(llm_blocks_find(b, p, two, &got), second);
    ck_assert_int_eq(llm_blocks_take(b), second);
    ck_assert_int_eq(llm_blocks_find(b, p, two, &got), -1);
    ck_assert_int_eq(llm_blocks_take(b), first);
    ck_assert_int_eq(llm_blocks_take(b), -1);
    llm_blocks_destroy(b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_blocks");
    TCase *t = tcase_create("blocks");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_model, 0, 8);
    tcase_add_test(t, test_content);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
