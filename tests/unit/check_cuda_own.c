/* SPDX-License-Identifier: Apache-2.0
 *
 * What raywf-cuda.so takes for itself, as it is planned where there is no GPU: each
 * kind of a decoder's words has room for all that blocks write, and no kind reaches
 * into the next one.
 */
#include "config.h"
#include <check.h>
#include <stdlib.h>
#include "kernels/cuda/own.h"

#define BLOCKS 132

/* hidden, inner, heads, key heads, size, group. */
static const int shapes[][6] = {
    {128, 64, 3, 3, 64, 0},         {1024, 3072, 16, 8, 128, 0},
    {5120, 17408, 40, 8, 128, 0},   {512, 1024, 8, 1, 64, 128},
    {1024, 2304, 16, 8, 128, 128},  {2560, 4352, 40, 8, 128, 128},
    {5120, 25600, 64, 8, 128, 128}, {128, 128, 2, 1, 64, 128},
};

static struct kernel_decoder decoder_of(const int *s, struct kernel_decoder_layer *l)
{
    *l = (struct kernel_decoder_layer){.qkv = {.group = s[5]}};
    return (struct kernel_decoder){.type = KERNEL_BF16,
                                   .layers = 2,
                                   .hidden = s[0],
                                   .inner = s[1],
                                   .heads = s[2],
                                   .kv_heads = s[3],
                                   .size = s[4],
                                   .layer = l};
}

/* Behind the last word that a block writes of a product's parts. */
static size_t rest_end(const struct decoder_product *p)
{
    size_t end = 0;
    for (int cut = 0; cut < p->cuts; cut++)
        for (int second = 0; second < 2; second++)
            for (int s = 0; s < DECODER_SEQUENCES_Q4; s++) {
                size_t last = (size_t)DECODER_REST(p->columns, cut, second, s) +
                              2 * (size_t)p->columns;
                end = last > end ? last : end;
            }
    return end;
}

START_TEST(words_have_room)
{
    struct kernel_decoder_layer layer;
    const struct kernel_decoder d = decoder_of(shapes[_i], &layer);
    const struct decoder_layout l = decoder_layout(&d, BLOCKS);
    struct decoder_product p[DECODER_PRODUCTS];
    decoder_products(p, &d, BLOCKS);
    for (int i = 0; i < DECODER_PRODUCTS; i++) {
        size_t told = i + 1 < DECODER_PRODUCTS ? l.told[i + 1] : l.out;
        size_t rest = i + 1 < DECODER_PRODUCTS ? l.rest[i + 1] : l.gates;
        ck_assert_uint_ge(told - l.told[i],
                          DECODER_SEQUENCES * (size_t)p[i].columns / 2);
        ck_assert_uint_ge(rest - l.rest[i], rest_end(&p[i]));
        if (d.layer->qkv.group > 0)
            ck_assert_int_eq(p[i].width % p[i].cuts, 0);
    }
    ck_assert_uint_ge(l.epoch - l.gates,
                      DECODER_PRODUCTS * DECODER_GATES * DECODER_APART);
    ck_assert_uint_gt(l.end, l.epoch);
}
END_TEST

/* Of 4 bits: there are blocks for all parts, and tiles for all blocks. */
START_TEST(parts_have_blocks)
{
    struct kernel_decoder_layer layer;
    const struct kernel_decoder d = decoder_of(shapes[_i], &layer);
    struct decoder_product p[DECODER_PRODUCTS];
    decoder_products(p, &d, BLOCKS);
    for (int i = 0; i < DECODER_PRODUCTS && d.layer->qkv.group > 0; i++) {
        ck_assert_int_le(p[i].sharers * p[i].cuts, BLOCKS);
        ck_assert_int_ge(p[i].sharers, 1);
        ck_assert_int_le(p[i].sharers, p[i].tiles);
    }
}
END_TEST

int main(void)
{
    const int count = (int)(sizeof(shapes) / sizeof(*shapes));
    Suite *s = suite_create("what the CUDA library takes");
    TCase *t = tcase_create("decoder");
    tcase_add_loop_test(t, words_have_room, 0, count);
    tcase_add_loop_test(t, parts_have_blocks, 0, count);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
