/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights of 4 bits: AWQ's order, zero points and scales against values written down by
 * hand, the variants against the reference, and what cannot be packed.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/host.h"
#include "tests/unit/kernels_rig.h"

#define COUNT(x) ((int)(sizeof(x) / sizeof(*(x))))

/* --- known answers: w = (q - zero) * scale --- */

enum { N = 64, K = 64, GROUP = 32, AT = 37, WORD = 2 };

/* The word 0x7f3a51c0 has nibbles 0, c, 1, 5, a, 3, f, 7 from below; nibble i belongs
 * to column P[i], P = 0 2 4 6 1 3 5 7. So columns 0 to 7 are 0 a c 3 1 f 5 7, and those
 * of the zeros' 0x8421063b are b 1 3 2 6 4 0 8. */
static const uint32_t weight_word = 0x7f3a51c0, zero_word = 0x8421063b;
static const uint16_t half_scales[8] = {0x3800, 0x3c00, 0x4000, 0xb800,
                                        0x3400, 0x4400, 0x0001, 0x3c00};
static const uint16_t bf16_scales[8] = {0x3f00, 0x3f80, 0x4000, 0xbf00,
                                        0x3e80, 0x4080, 0x3380, 0x3f80};
/* Times 0.5, 1, 2, -0.5, 0.25, 4, 2^-24, 1. */
static const float answers[8] = {-5.5f, 9, 18, -0.5f, -1.25f, 44, 5 * 0x1p-24f, -1};

/* All of row AT of k is zero but word WORD, which is columns 8 * WORD and so on. */
static void known(const struct kernels *k, struct kernel_context *c, bool bf16,
                  enum kernel_type type)
{
    static uint32_t weights[K * N / 8], zeros[K / GROUP * N / 8];
    static uint16_t scales[K / GROUP * N];
    const struct kernel_q4 w = {.n = N, .k = K, .group = GROUP};
    struct kernel_q4_source from = {0, N, weights, zeros, scales, bf16};
    float x[K] = {0}, out[N];
    uint16_t halves[K] = {0};
    char error[160] = "";
    memset(weights, 0, sizeof(weights));
    memset(zeros, 0, sizeof(zeros));
    memset(scales, 0, sizeof(scales));
    weights[AT * N / 8 + WORD] = weight_word;
    zeros[AT / GROUP * N / 8 + WORD] = zero_word;
    memcpy(scales + AT / GROUP * N + 8 * WORD, bf16 ? bf16_scales : half_scales, 16);
    void *packed = malloc(k->q4_bytes(c, &w));
    void *scratch = malloc(k->q4_scratch(c, &w, 1) + 1);
    ck_assert_msg(k->q4_pack(c, &w, packed, &from, error, sizeof(error)) == 0, "%s",
                  error);
    x[AT] = 1;
    halves[AT] = bf16_from_float(1);
    const void *row = type == KERNEL_BF16 ? (const void *)halves : (const void *)x;
    k->q4_matmul(c, &w, packed, out, row, 1, type, KERNEL_F32, scratch);
    for (int j = 0; j < N; j++) {
        float want = j / 8 == WORD ? answers[j % 8] : 0;
        ck_assert_msg(fabsf(out[j] - want) <= 1e-6f * fabsf(want),
                      "column %d: %.9g, want %.9g", j, (double)out[j], (double)want);
    }
    free(packed);
    free(scratch);
}

START_TEST(known_answers)
{
    const struct kernels *k = rig_table(_i);
    if (k == NULL)
        return; /* rig_run said so */
    struct kernel_context *c = rig_open(k);
    for (int form = 0; form < 4; form++)
        known(k, c, form & 1, form & 2 ? KERNEL_BF16 : KERNEL_F32);
    k->close(c);
}
END_TEST

/* Every half that is a number, against its definition. */
START_TEST(halves)
{
    const struct kernels *k = kernels_reference();
    const struct kernel_q4 w = {.n = 64, .k = 32, .group = 32};
    static uint32_t weights[32 * 8], zeros[8];
    uint16_t scales[64];
    float x[32] = {1}, out[64];
    unsigned char packed[64 * 32 + 64 * 5];
    for (int i = 0; i < 8; i++)
        weights[i] = 0x11111111;
    struct kernel_q4_source from = {0, 64, weights, zeros, scales, false};
    for (int first = 0; first < 65536; first += 64) {
        for (int j = 0; j < 64; j++)
            scales[j] = (uint16_t)(first + j);
        ck_assert_int_eq(k->q4_pack(NULL, &w, packed, &from, NULL, 0), 0);
        k->q4_matmul(NULL, &w, packed, out, x, 1, KERNEL_F32, KERNEL_F32, NULL);
        for (int j = 0; j < 64; j++) {
            int power = scales[j] >> 10 & 31, fraction = scales[j] & 1023;
            double want = power == 0 ? fraction * pow(2, -24)
                                     : (1 + fraction / 1024.0) * pow(2, power - 15);
            if (power < 31)
                ck_assert_double_eq((double)out[j], scales[j] >> 15 ? -want : want);
        }
    }
}
END_TEST

/* --- the variants --- */

struct shape {
    int64_t m, n, k;
    int group, pieces; /* packed in so many */
    bool bf16;         /* scales */
    enum kernel_type type, c_type;
};

/* Words of any bits. */
static const void *words(struct trial *t, int64_t n)
{
    uint32_t *x = (uint32_t *)rig_numbers(t, n, 1, INT32_MAX);
    for (int64_t i = 0; i < n; i++)
        x[i] = (x[i] ^ x[i] >> 15) * 2654435761u;
    return x;
}

static void multiply(struct trial *t, const void *args)
{
    const struct shape *s = args;
    const struct kernel_q4 w = {.n = s->n, .k = s->k, .group = s->group};
    char error[160] = "";
    void *packed = rig_scratch(t, t->k->q4_bytes(t->c, &w));
    for (int64_t i = 0, first = 0; i < s->pieces; i++) {
        int64_t n = i + 1 < s->pieces ? s->n / s->pieces / 8 * 8 : s->n - first;
        int64_t groups = s->k / s->group;
        struct kernel_q4_source from = {.first = first, .n = n, .bf16 = s->bf16};
        from.weights = words(t, s->k * n / 8);
        from.zeros = words(t, groups * n / 8);
        uint16_t *scales = rig_input(t, groups * n, KERNEL_BF16);
        for (int64_t j = 0; !s->bf16 && j < groups * n; j++)
            scales[j] = (uint16_t)(0x2000 + scales[j] % 0x1000); /* 2^-7 to 2^-3 */
        from.scales = scales;
        ck_assert_msg(t->k->q4_pack(t->c, &w, packed, &from, error, sizeof(error)) == 0,
                      "%s", error);
        first += n;
    }
    const void *x = rig_input(t, s->m * s->k, s->type);
    void *out = rig_output(t, s->m * s->n, s->c_type);
    /* Terms are up to 15, where those of other products are up to 1. Measured for k of
     * 896, outputs of 65 (rms): AVX-512 1.1e-5 (rms), 7.6e-5 at most; AVX2 and plain,
     * whose weights are not less 8, twice that. */
    t->tolerance = 4e-6 * sqrt((double)s->k);
    t->k->q4_matmul(t->c, &w, packed, out, x, s->m, s->type, s->c_type,
                    rig_scratch(t, t->k->q4_scratch(t->c, &w, s->m)));
}

START_TEST(products)
{
    static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 8, 11, 16, 17, 40, 100};
    static const struct shape shapes[] = {
        {.n = 64, .k = 32, .group = 32, .pieces = 1},
        {.n = 64, .k = 128, .group = 128, .pieces = 1, .bf16 = true},
        {.n = 192, .k = 192, .group = 64, .pieces = 3},
        {.n = 640, .k = 896, .group = 128, .pieces = 3, .bf16 = true},
    };
    char what[96];
    for (int i = 0; i < COUNT(shapes); i++)
        for (int form = 0; form < 4; form++) {
            struct shape s = shapes[i];
            s.m = rows[_i];
            s.type = form & 1 ? KERNEL_BF16 : KERNEL_F32;
            s.c_type = form & 2 ? KERNEL_BF16 : KERNEL_F32;
            snprintf(what, sizeof(what), "%lld rows, shape %d, form %d", (long long)s.m,
                     i, form);
            rig_compare(multiply, &s, what);
        }
}
END_TEST

/* --- what cannot be packed --- */

START_TEST(refusals)
{
    static const struct {
        struct kernel_q4 w;
        int64_t first, n;
        const char *text;
    } cases[] = {
        {{64, 128, 100}, 0, 64, "groups of 100"},
        {{60, 128, 128}, 0, 56, "[60, 128]: the first must be a multiple of 64"},
        {{64, 100, 64}, 0, 64, "[64, 100]"},
        {{64, 128, 128}, 0, 72, "rows 0 to 72 of 64"},
        {{64, 128, 128}, 8, 64, "rows 8 to 72 of 64"},
        {{64, 128, 128}, 4, 8, "rows 4 to 12 of 64"},
        {{64, 128, 128}, -8, 8, "rows -8 to 0 of 64"},
    };
    for (int v = 0; v <= CPU_VARIANTS; v++) {
        const struct kernels *k = rig_table(v);
        for (int i = 0; k != NULL && i < COUNT(cases); i++) {
            struct kernel_q4_source from = {.first = cases[i].first, .n = cases[i].n};
            char error[160] = "";
            ck_assert_int_eq(
                k->q4_pack(NULL, &cases[i].w, NULL, &from, error, sizeof(error)), -1);
            ck_assert_msg(strstr(error, cases[i].text) != NULL, "%s", error);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_q4");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, known_answers, 0, CPU_VARIANTS + 1);
    tcase_add_test(tc, halves);
    tcase_add_loop_test(tc, products, 0, 12);
    tcase_add_test(tc, refusals);
    suite_add_tcase(suite, tc);
    return rig_run(suite);
}
