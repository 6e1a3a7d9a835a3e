/* SPDX-License-Identifier: Apache-2.0
 *
 * Inference on raywf-cuda.so: products of few rows, weights of 4 bits, drawing tokens;
 * check_cuda_paged.c has the rest. Skipped where there is no GPU.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_rig.h"
#include "kernels/cpu/bf16.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

/* --- products of few rows --- */

CALL(call_matmul)
{
    struct kernel_matmul m = *(const struct kernel_matmul *)arguments;
    m.a = b[0];
    m.b = b[1];
    m.c = b[2];
    m.bias = m.bias != NULL ? b[3] : NULL;
    on->matmul(at, &m);
}

static void check_skinny(int64_t m, int64_t n, int64_t k, enum kernel_type c_type,
                         int64_t apart, bool bias)
{
    char name[96];
    struct kernel_matmul a = {.m = m,
                              .n = n,
                              .k = k,
                              .tb = true,
                              .lda = k + apart,
                              .ldb = k + 2 * apart,
                              .ldc = n + apart / 2,
                              .type = KERNEL_BF16,
                              .c_type = c_type,
                              .alpha = apart > 0 ? 0.5f : 1.0f,
                              .bias = bias ? &a : NULL};
    snprintf(name, sizeof(name), "few rows %dx%dx%d, type %d, apart %d, bias %d",
             (int)m, (int)n, (int)k, c_type, (int)apart, bias);
    struct rig_case t = {
        name,
        call_matmul,
        &a,
        c_type == KERNEL_BF16 ? 1.2e-2 : 2e-5,
        {{RIG_IN, KERNEL_BF16, m * a.lda, NULL, 0, 0},
         {RIG_IN, KERNEL_BF16, n * a.ldb, NULL, 0, 0},
         {apart > 0 ? RIG_BOTH : RIG_OUT, c_type, m * a.ldc, NULL, 0, 0},
         {RIG_IN, KERNEL_BF16, n, NULL, 0, 0}}};
    rig_check(rig_c, &t);
}

START_TEST(few_rows)
{
    static const int shapes[][2] = {{1, 8},      {15, 40},    {16, 512},   {37, 1000},
                                    {256, 2048}, {1000, 264}, {512, 8192}, {5000, 72}};
    for (int i = 0; i < COUNT(shapes); i++)
        for (int m = 1; m <= 17; m += m < 3 ? 1 : 3)
            for (int form = 0; form < 4; form++)
                check_skinny(m, shapes[i][0], shapes[i][1], rig_types[form & 1],
                             form & 2 ? 8 : 0, form == 1 || form == 2);
    check_skinny(16, 151936, 64, KERNEL_F32, 0, false);
    check_skinny(2, 64, 20000, KERNEL_BF16, 0, true);
    check_skinny(5, 48, 36, KERNEL_BF16, 0, true); /* k is no multiple of 8 */
}
END_TEST

/* --- weights of 4 bits --- */

struct q4_case {
    struct kernel_q4 w;
    int64_t m;
    enum kernel_type type, c_type;
    int parts; /* packed from that many sources */
    bool bf16;
    const uint32_t *weights, *zeros; /* of part after part */
    const uint16_t *scales;
};

CALL(call_q4)
{
    const struct q4_case *q = arguments;
    char error[160] = "";
    int64_t n = q->w.n / q->parts, groups = q->w.k / q->w.group;
    for (int64_t i = 0; i < q->parts; i++) {
        struct kernel_q4_source from = {i * n,
                                        n,
                                        q->weights + i * q->w.k * n / 8,
                                        q->zeros + i * groups * n / 8,
                                        q->scales + i * groups * n,
                                        q->bf16};
        ck_assert_msg(on->q4_pack(at, &q->w, b[0], &from, error, sizeof(error)) == 0,
                      "%s", error);
    }
    if (on->q4_packed != NULL)
        on->q4_packed(at);
    on->q4_matmul(at, &q->w, b[0], b[2], b[1], q->m, q->type, q->c_type, b[3]);
}

static void check_q4(struct q4_case q)
{
    int64_t groups = q.w.k / q.w.group, words = q.w.n * q.w.k / 8;
    uint32_t *weights = malloc((size_t)words * 4);
    uint32_t *zeros = malloc((size_t)(groups * q.w.n / 8) * 4);
    uint16_t *scales = malloc((size_t)(groups * q.w.n) * 2);
    char name[128];
    for (int64_t i = 0; i < words; i++)
        weights[i] = (uint32_t)(rig_unit() * 0x1p32);
    for (int64_t i = 0; i < groups * q.w.n / 8; i++)
        zeros[i] = (uint32_t)(rig_unit() * 0x1p32);
    for (int64_t i = 0; i < groups * q.w.n; i++)
        scales[i] = q.bf16
                        ? bf16_from_float((float)(rig_unit() * 0.02 - 0.005))
                        : (uint16_t)(0x1c00 + rig_below(0x800) + rig_below(2) * 0x8000);
    q.weights = weights;
    q.zeros = zeros;
    q.scales = scales;
    size_t packed = rig_k->q4_bytes(rig_c, &q.w);
    size_t other = kernels_reference()->q4_bytes(NULL, &q.w);
    snprintf(name, sizeof(name), "4 bits %dx%dx%d group %d type %d%d parts %d",
             (int)q.m, (int)q.w.n, (int)q.w.k, q.w.group, q.type, q.c_type, q.parts);
    /* Many rows have weights that are rounded to bf16. */
    double near = q.type == KERNEL_F32 && q.c_type == KERNEL_F32 ? 2e-5
                  : q.c_type == KERNEL_F32 && q.m <= 64          ? 1e-4
                                                                 : 1.2e-2;
    struct rig_case t = {
        name,
        call_q4,
        &q,
        near,
        {{RIG_SCRATCH, KERNEL_F32, 0, NULL, packed > other ? packed : other, 0},
         {RIG_IN, q.type, q.m * q.w.k, NULL, 0, 0},
         {RIG_OUT, q.c_type, q.m * q.w.n, NULL, 0, 0},
         {RIG_SCRATCH, KERNEL_F32, 0, NULL, rig_k->q4_scratch(rig_c, &q.w, q.m) + 4,
          0}}};
    rig_check(rig_c, &t);
    free(weights);
    free(zeros);
    free(scales);
}

START_TEST(weights_of_4_bits)
{
    static const int shapes[][3] = {{64, 32, 32},     {128, 96, 32},  {64, 128, 64},
                                    {320, 192, 64},   {64, 128, 128}, {192, 1024, 128},
                                    {256, 5120, 128}, {448, 1056, 32}};
    static const int rows[] = {1,  2,  7,  8,   9,   16,  17, 33,
                               48, 64, 65, 130, 200, 257, 330};
    for (int i = 0; i < COUNT(shapes); i++)
        for (int j = 0; j < COUNT(rows); j++)
            check_q4((struct q4_case){
                .w = {shapes[i][0], shapes[i][1], shapes[i][2]},
                .m = rows[j],
                .type = j == 1 || j == 10 ? KERNEL_F32 : KERNEL_BF16,
                .c_type = rig_types[(i + j) & 1],
                .parts = shapes[i][0] / 8 % 2 == 0 && j % 3 == 0 ? shapes[i][0] / 8 / 2
                                                                 : 1 + (j & 1),
                .bf16 = j & 1});
}
END_TEST

/* More work than there are blocks at once: they have parts of several tiles. */
START_TEST(weights_of_4_bits_in_long_runs)
{
    static const int rows[] = {1, 8, 13, 32, 50, 128};
    for (int j = 0; j < COUNT(rows); j++)
        check_q4((struct q4_case){.w = {3008, 2176, j % 2 == 0 ? 128 : 64},
                                  .m = rows[j],
                                  .type = KERNEL_BF16,
                                  .c_type = rig_types[j / 2 & 1],
                                  .parts = 1,
                                  .bf16 = j & 1});
}
END_TEST

START_TEST(weights_that_cannot_be_packed)
{
    static const struct {
        struct kernel_q4 w;
        int64_t first, n;
        const char *says;
    } cases[] = {{{64, 128, 16}, 0, 64, "group"},
                 {{60, 128, 32}, 0, 60, "multiple of 64"},
                 {{64, 100, 32}, 0, 64, "the second one of the group's 32"},
                 {{64, 128, 32}, 4, 8, "rows 4 to 12 of 64"},
                 {{64, 128, 32}, 64, 8, "rows 64 to 72 of 64"},
                 {{64, 128, 32}, 0, 72, "rows 0 to 72 of 64"}};
    for (int i = 0; i < COUNT(cases); i++) {
        char error[200] = "";
        struct kernel_q4_source from = {cases[i].first, cases[i].n, NULL,
                                        NULL,           NULL,       true};
        ck_assert_int_eq(
            rig_k->q4_pack(rig_c, &cases[i].w, NULL, &from, error, sizeof(error)), -1);
        ck_assert_msg(strstr(error, cases[i].says) != NULL, "%s", error);
    }
}
END_TEST

/* --- drawing tokens --- */

#define ROWS 24
#define GREEDY 10 /* the turn in which all temperatures are 0, and that is said */

struct draws {
    float temperature[ROWS], top_p[ROWS], min_p[ROWS];
    int32_t top_k[ROWS], mask_row[ROWS], ids[ROWS];
    uint64_t seed[ROWS], step[ROWS];
};

static void *there(const void *from, size_t bytes)
{
    void *p = rig_k->alloc(rig_c, bytes + 1);
    ck_assert_ptr_nonnull(p);
    rig_k->upload(rig_c, p, from, bytes);
    return p;
}

/* Rows' logits: peaked, flat, with many equal ones, all equal, of huge spread. */
static void logits_fill(float *x, int64_t vocab, int64_t stride, int row)
{
    for (int64_t i = 0; i < stride; i++) {
        double normal = 0;
        for (int j = 0; j < 6; j++)
            normal += rig_unit() - 0.5;
        normal *= 1.4;
        switch (row % 6) {
        case 0:
            x[i] = (float)(normal * 3 + (rig_below(200) == 0 ? 12 : 0));
            break;
        case 1:
            x[i] = (float)normal;
            break;
        case 2:
            x[i] = (float)(floor(normal * 4) / 2);
            break;
        case 3:
            x[i] = 1.5f;
            break;
        case 4:
            x[i] = (float)(normal * 1e4);
            break;
        default:
            x[i] = (float)(normal * 0.01 - 40);
        }
        if (i >= vocab)
            x[i] = NAN; /* beyond the row */
    }
    if (row == 20)
        x[vocab / 2] = NAN;
    if (row == 21)
        x[vocab - 1] = INFINITY;
    if (row == 22)
        for (int64_t i = 0; i < vocab; i += 2)
            x[i] = -INFINITY;
}

static void draws_fill(struct draws *d, int turn)
{
    static const float temperatures[] = {1, 0, 0.6f, 1.3f, 0.05f};
    static const float top_ps[] = {1, 0.95f, 0.5f, 0.01f, 0};
    static const float min_ps[] = {0, 0, 0.05f, 1, 0.001f};
    static const int32_t top_ks[] = {0, 20, 1, 3000, 1 << 30, 50};
    for (int i = 0; i < ROWS; i++) {
        d->temperature[i] = turn == GREEDY ? 0 : temperatures[(i + turn) % 5];
        d->top_p[i] = top_ps[(i / 2 + turn * 2) % 5];
        d->min_p[i] = min_ps[(i / 3 + turn * 3) % 5];
        d->top_k[i] = top_ks[(i / 4 + turn) % 6];
        d->mask_row[i] = i % 4 == 3 ? rig_below(2) : -1;
        d->seed[i] = (uint64_t)(rig_unit() * 0x1p53) * 2049;
        d->step[i] = (uint64_t)rig_below(100000);
    }
}

static void check_draws(int64_t vocab, int turn)
{
    static struct draws d;
    int64_t stride = vocab + 5, words = (vocab + 31) / 32;
    float *logits = malloc((size_t)(ROWS * stride) * 4);
    uint32_t *mask = malloc((size_t)words * 2 * 4);
    int32_t got[ROWS];
    char error[200] = "";
    for (int i = 0; i < ROWS; i++)
        logits_fill(logits + i * stride, vocab, stride, i);
    for (int64_t i = 0; i < 2 * words; i++) /* the second one allows few */
        mask[i] = i < words ? (uint32_t)(rig_unit() * 0x1p32)
                            : 1u << rig_below(32) & (rig_below(3) ? ~0u : 0u);
    draws_fill(&d, turn);
    struct kernel_sample s = {
        ROWS,    vocab,  stride, logits,     d.temperature, d.top_p, d.min_p,
        d.top_k, d.seed, d.step, d.mask_row, mask,          d.ids,   turn == GREEDY};
    void *room = malloc(kernels_reference()->sample_scratch(NULL, ROWS, vocab) + 1);
    kernels_reference()->sample(NULL, &s, room);
    struct draws *device = there(&d, sizeof(d));
    size_t bytes = rig_k->sample_scratch(rig_c, ROWS, vocab);
    void *scratch = rig_k->alloc(rig_c, bytes + 1);
    struct kernel_sample on = {ROWS,
                               vocab,
                               stride,
                               there(logits, (size_t)(ROWS * stride) * 4),
                               device->temperature,
                               device->top_p,
                               device->min_p,
                               device->top_k,
                               device->seed,
                               device->step,
                               device->mask_row,
                               there(mask, (size_t)words * 2 * 4),
                               device->ids,
                               turn == GREEDY};
    for (int again = 0; again < 2; again++) {
        rig_k->zero(rig_c, device->ids, sizeof(d.ids));
        rig_k->sample(rig_c, &on, scratch);
        rig_k->download(rig_c, got, device->ids, sizeof(got));
        ck_assert_msg(rig_k->sync(rig_c, error, sizeof(error)) == 0, "%s", error);
        for (int i = 0; i < ROWS; i++)
            ck_assert_msg(
                got[i] == d.ids[i],
                "vocab %d, row %d (temperature %g, top_k %d, top_p %g, min_p %g, mask "
                "%d): drew %d, want %d",
                (int)vocab, i, (double)d.temperature[i], d.top_k[i], (double)d.top_p[i],
                (double)d.min_p[i], d.mask_row[i], got[i], d.ids[i]);
    }
    rig_k->free(rig_c, device);
    rig_k->free(rig_c, scratch);
    rig_k->free(rig_c, (void *)(uintptr_t)on.logits);
    rig_k->free(rig_c, (void *)(uintptr_t)on.mask);
    free(room);
    free(logits);
    free(mask);
}

START_TEST(tokens_are_drawn)
{
    static const int vocabs[] = {1, 2, 31, 1000, 4097, 32003};
    for (int i = 0; i < COUNT(vocabs); i++)
        for (int turn = 0; turn <= GREEDY; turn++)
            check_draws(vocabs[i], turn);
    check_draws(151936, 0);
    check_draws(151936, 1);
    check_draws(151936, 3);
    check_draws(151936, GREEDY);
}
END_TEST

CALL(call_edit)
{
    const int *count = arguments;
    on->edit(at, b[0], 50, b[1], *count);
}

START_TEST(logits_are_edited)
{
    struct kernel_edit edits[600];
    float logits[20 * 50];
    int count = 0;
    for (int i = 0; i < COUNT(logits); i++)
        logits[i] = (float)(rig_unit() * 20 - 10);
    for (int i = 0; i < COUNT(edits); i++)
        edits[i] =
            (struct kernel_edit){i / 30, i % 30 + (i / 30) % 7, (float)(1 + rig_unit()),
                                 (float)(rig_unit() * 4 - 2)};
    for (count = 0; count <= COUNT(edits); count += 300) {
        struct rig_case t = {"edit",
                             call_edit,
                             &count,
                             1e-7,
                             {{RIG_BOTH, KERNEL_F32, COUNT(logits), logits, 0, 0},
                              {RIG_GIVEN, KERNEL_F32, 0, edits, sizeof(edits), 0}}};
        rig_check(rig_c, &t);
    }
}
END_TEST

int main(void)
{
    const struct rig_part parts[] = {
        {"few_rows", few_rows},
        {"weights_of_4_bits", weights_of_4_bits},
        {"weights_of_4_bits_in_long_runs", weights_of_4_bits_in_long_runs},
        {"weights_that_cannot_be_packed", weights_that_cannot_be_packed},
        {"tokens_are_drawn", tokens_are_drawn},
        {"logits_are_edited", logits_are_edited},
    };
    return rig_main(parts, sizeof(parts) / sizeof(*parts));
}
