/* SPDX-License-Identifier: Apache-2.0
 * Objects in frames between nodes: which are found, and what is no frame. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "far/span_impl.h"

/* A frame that is put together: its head, then items. */
static uint64_t words[4096];
static char *at;

static void *begin(const void *head, size_t size)
{
    memset(words, 0, sizeof(words));
    memcpy(words, head, size);
    at = (char *)words + size;
    return words;
}

static void *begin_call(uint32_t count, uint16_t flags)
{
    const struct native_call c = {
        .msg = {NATIVE_CALL, flags, 1, 7}, .returns = 1, .arg_count = count};
    return begin(&c, sizeof(c));
}

static void *begin_done(uint32_t count, int code, uint16_t flags)
{
    const struct native_done d = {
        .msg = {NATIVE_DONE, flags, 1, 7}, .code = code, .count = count};
    return begin(&d, sizeof(d));
}

static void add(uint64_t size, store_object object)
{
    const struct native_item item = {size, object};
    memcpy(at, &item, sizeof(item));
    at += sizeof(item);
    if (!object)
        at += native_pad(size);
}

static size_t size_of(const void *frame)
{
    return (size_t)(at - (const char *)frame);
}

struct found {
    store_object objects[16];
    size_t count, stop;
};

static int note(void *ctx, struct native_item *item)
{
    struct found *f = ctx;
    if (f->stop && f->count == f->stop)
        return -1;
    f->objects[f->count++] = item->object;
    return 0;
}

START_TEST(finds_objects)
{
    struct found f = {0};
    void *frame = begin_call(4, 0);
    add(5, 0);
    add(100000, 11);
    add(0, 0);
    add(70000, 12);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    ck_assert_uint_eq(f.count, 2);
    ck_assert_uint_eq(f.objects[0], 11);
    ck_assert_uint_eq(f.objects[1], 12);

    f = (struct found){0};
    frame = begin_done(2, 0, 0);
    add(8, 0);
    add(1 << 20, 13);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    ck_assert_uint_eq(f.count, 1);
    ck_assert_uint_eq(f.objects[0], 13);

    f = (struct found){0};
    const struct native_yield y = {.msg = {NATIVE_YIELD, 0, 1, 7}, .index = 1};
    frame = begin(&y, sizeof(y));
    add(1 << 20, 14);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    ck_assert_uint_eq(f.count, 1);
}
END_TEST

START_TEST(stops_when_told)
{
    struct found f = {.stop = 1};
    void *frame = begin_call(2, 0);
    add(1, 11);
    add(1, 12);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), -1);
    ck_assert_uint_eq(f.count, 1);
}
END_TEST

/* An error, and what is neither call nor value, names nothing. */
START_TEST(finds_nothing)
{
    struct found f = {0};
    const struct native_msg forget = {NATIVE_FORGET, 0, 1, 7};
    void *frame = begin(&forget, sizeof(forget));
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    frame = begin_done(1, RAYWF_E_FAILED, 0);
    add(3, 0);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    frame = begin_done(0, 0, 0);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    ck_assert_uint_eq(f.count, 0);
}
END_TEST

/* Whatever is cut off is found out. */
START_TEST(cut)
{
    void *frame = begin_call(2, 0);
    add(20, 0);
    add(9, 17);
    const size_t whole = size_of(frame);
    for (size_t size = 0; size < whole; size++) {
        struct found f = {0};
        ck_assert_int_eq(span__items(frame, size, note, &f), -1);
    }
    frame = begin_done(1, 0, 0);
    add(9, 17);
    for (size_t size = 0; size < size_of(frame); size++) {
        struct found f = {0};
        ck_assert_int_eq(span__items(frame, size, note, &f), -1);
    }
}
END_TEST

static const uint64_t bad_sizes[] = {UINT64_MAX, UINT64_MAX - 7, 1 << 20, 9};

START_TEST(bad_size)
{
    struct found f = {0};
    void *frame = begin_call(1, 0);
    add(8, 0);
    const size_t size = size_of(frame);
    struct native_item *item = (void *)((char *)frame + sizeof(struct native_call));
    item->size = bad_sizes[_i];
    ck_assert_int_eq(span__items(frame, size, note, &f), -1);
    struct native_call *call = frame;
    item->size = 8;
    call->arg_count = UINT32_MAX;
    ck_assert_int_eq(span__items(frame, size, note, &f), -1);
}
END_TEST

START_TEST(packed)
{
    struct found f = {0};
    void *frame = begin_call(300, NATIVE_PACKED);
    add(1 << 20, 21);
    ck_assert_uint_eq(span__packed_count(frame, size_of(frame)), 300);
    ck_assert_int_eq(span__items(frame, size_of(frame), note, &f), 0);
    ck_assert_uint_eq(f.count, 1); /* the one that holds them */
    frame = begin_call(300, 0);
    ck_assert_uint_eq(span__packed_count(frame, size_of(frame)), 0);
    frame = begin_done(5, RAYWF_E_FAILED, NATIVE_PACKED);
    ck_assert_uint_eq(span__packed_count(frame, size_of(frame)), 0);
    ck_assert_uint_eq(span__packed_count(frame, 3), 0);
    /* Its inside. */
    f = (struct found){0};
    begin("", 0);
    add(3, 0);
    add(1, 22);
    add(1, 23);
    ck_assert_int_eq(span__packed(words, size_of(words), 3, note, &f), 0);
    ck_assert_uint_eq(f.count, 2);
    ck_assert_int_eq(span__packed(words, size_of(words), 4, note, &f), -1);
}
END_TEST

START_TEST(moved)
{
    const struct native_item here[] = {{22, 122}, {23, 123}};
    const char *next = (const char *)here;
    size_t rest = sizeof(here);
    store_object o = 22;
    ck_assert_int_eq(native_moved(&next, &rest, &o), 0);
    ck_assert_uint_eq(o, 122);
    o = 22; /* not the next one */
    ck_assert_int_eq(native_moved(&next, &rest, &o), -1);
    o = 23;
    ck_assert_int_eq(native_moved(&next, &rest, &o), -1); /* and that was the last */
    const struct native_item none = {22, 0};
    next = (const char *)&none;
    rest = sizeof(none);
    o = 22;
    ck_assert_int_eq(native_moved(&next, &rest, &o), -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("span");
    TCase *t = tcase_create("items");
    tcase_add_test(t, finds_objects);
    tcase_add_test(t, stops_when_told);
    tcase_add_test(t, finds_nothing);
    tcase_add_test(t, cut);
    tcase_add_loop_test(t, bad_size, 0, sizeof(bad_sizes) / sizeof(*bad_sizes));
    tcase_add_test(t, packed);
    tcase_add_test(t, moved);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
