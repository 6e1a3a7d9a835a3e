/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference's backward operations against numeric derivatives of its forward ones,
 * in double: its sources are compiled here once more with double for float. Each case
 * is a function of all its inputs in one row; the derivative of a random mix of its
 * outputs is compared with what backward says of every input.
 */
#include "config.h"
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/philox.h"
#define float double
#include "kernels/cpu/reference_attention.c"
#include "kernels/cpu/reference_layers.c"
#include "kernels/cpu/reference_loss.c"
#include "kernels/cpu/reference_matmul.c"
#undef float

#define MOST 512
#define STEP 1e-6
#define TOLERANCE 2e-8

struct probe {
    const char *name;
    int inputs, outputs;
    void (*forward)(const double *in, double *out);
    void (*backward)(const double *in, const double *dout, double *din);
};

static double random_value(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-52 - 1;
}

static double mix(const struct probe *p, const double *in, const double *dout)
{
    double out[MOST], sum = 0;
    for (int i = 0; i < p->outputs; i++)
        out[i] = NAN;
    p->forward(in, out);
    for (int i = 0; i < p->outputs; i++)
        sum += out[i] * dout[i];
    return sum;
}

static void check_probe(const struct probe *p)
{
    double in[MOST], dout[MOST], din[MOST];
    uint64_t state = 7;
    ck_assert_int_le(p->inputs, MOST);
    ck_assert_int_le(p->outputs, MOST);
    for (int i = 0; i < p->inputs; i++)
        in[i] = random_value(&state);
    for (int i = 0; i < p->outputs; i++)
        dout[i] = random_value(&state);
    for (int i = 0; i < p->inputs; i++)
        din[i] = NAN;
    p->backward(in, dout, din);
    for (int i = 0; i < p->inputs; i++) {
        double kept = in[i];
        in[i] = kept + STEP;
        double up = mix(p, in, dout);
        in[i] = kept - STEP;
        double slope = (up - mix(p, in, dout)) / (2 * STEP);
        in[i] = kept;
        ck_assert_msg(fabs(slope - din[i]) <= TOLERANCE * (1 + fabs(slope)),
                      "%s: input %d: numeric %.12g, backward %.12g", p->name, i, slope,
                      din[i]);
    }
}

static void zero(double *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = 0;
}

/* --- products: in is A [3,5], B [5,4] or [4,5], bias [4] --- */

static struct kernel_matmul product_of(const double *in, double *out, bool ta, bool tb)
{
    return (struct kernel_matmul){.m = 3,
                                  .n = 4,
                                  .k = 5,
                                  .ta = ta,
                                  .tb = tb,
                                  .a = in,
                                  .b = in + 15,
                                  .c = out,
                                  .bias = in + 35,
                                  .alpha = 0.7,
                                  .act = KERNEL_TANH};
}

static void product_back(const double *in, const double *dout, double *din, bool ta,
                         bool tb)
{
    double before[12], d[12], out[12];
    struct kernel_matmul m = product_of(in, out, ta, tb);
    m.before = before;
    reference__matmul(NULL, &m);
    reference__activate_back(NULL, d, dout, before, 12, KERNEL_TANH, KERNEL_F32);
    reference__sum_rows(NULL, din + 35, d, 3, 4, KERNEL_F32, false);
    /* dA = d B', or its transpose B d' where A is stored so. */
    struct kernel_matmul da = {.m = 3,
                               .n = 5,
                               .k = 4,
                               .tb = !tb,
                               .a = d,
                               .b = in + 15,
                               .c = din,
                               .alpha = 0.7};
    if (ta)
        da = (struct kernel_matmul){.m = 5,
                                    .n = 3,
                                    .k = 4,
                                    .ta = tb,
                                    .tb = true,
                                    .a = in + 15,
                                    .b = d,
                                    .c = din,
                                    .alpha = 0.7};
    reference__matmul(NULL, &da);
    /* dB = A' d, added to zeros; or d' A. */
    struct kernel_matmul db = {.m = 5,
                               .n = 4,
                               .k = 3,
                               .ta = !ta,
                               .a = in,
                               .b = d,
                               .c = din + 15,
                               .alpha = 0.7,
                               .accumulate = true};
    if (tb)
        db = (struct kernel_matmul){.m = 4,
                                    .n = 5,
                                    .k = 3,
                                    .ta = true,
                                    .tb = ta,
                                    .a = d,
                                    .b = in,
                                    .c = din + 15,
                                    .alpha = 0.7,
                                    .accumulate = true};
    zero(din + 15, 20);
    reference__matmul(NULL, &db);
}

#define PRODUCT(name, ta, tb)                                                          \
    static void name##_forward(const double *in, double *out)                          \
    {                                                                                  \
        struct kernel_matmul m = product_of(in, out, ta, tb);                          \
        reference__matmul(NULL, &m);                                                   \
    }                                                                                  \
    static void name##_backward(const double *in, const double *dout, double *din)     \
    {                                                                                  \
        product_back(in, dout, din, ta, tb);                                           \
    }
PRODUCT(nn, false, false)
PRODUCT(nt, false, true)
PRODUCT(tn, true, false)
PRODUCT(tt, true, true)

/* --- element by element --- */

#define ACTIVATION(name, act)                                                          \
    static void name##_forward(const double *in, double *out)                          \
    {                                                                                  \
        reference__activate_all(NULL, out, in, 40, act, KERNEL_F32);                   \
    }                                                                                  \
    static void name##_backward(const double *in, const double *dout, double *din)     \
    {                                                                                  \
        reference__activate_back(NULL, din, dout, in, 40, act, KERNEL_F32);            \
    }
ACTIVATION(linear, KERNEL_LINEAR)
ACTIVATION(relu, KERNEL_RELU)
ACTIVATION(gelu, KERNEL_GELU)
ACTIVATION(silu, KERNEL_SILU)
ACTIVATION(hyperbolic, KERNEL_TANH)
ACTIVATION(sigmoids, KERNEL_SIGMOID)

static void swiglu_forward(const double *in, double *out)
{
    reference__swiglu(NULL, out, in, 3, 5, KERNEL_F32);
}

static void swiglu_backward(const double *in, const double *dout, double *din)
{
    reference__swiglu_back(NULL, din, dout, in, 3, 5, KERNEL_F32);
}

static void dropout_forward(const double *in, double *out)
{
    reference__dropout(NULL, out, in, 50, 0.3, 11, 5, KERNEL_F32);
}

static void dropout_backward(const double *in, const double *dout, double *din)
{
    (void)in;
    reference__dropout(NULL, din, dout, 50, 0.3, 11, 5, KERNEL_F32);
}

/* --- norms: in is x [3,6], add [3,6], weight [6], bias [6]; out is y and the sum ---
 */

static struct kernel_norm_args norm_of(const double *in, enum kernel_norm kind)
{
    return (struct kernel_norm_args){.kind = kind,
                                     .rows = 3,
                                     .width = 6,
                                     .epsilon = 1e-3,
                                     .weight = in + 36,
                                     .bias = kind == KERNEL_LAYERNORM ? in + 42 : NULL};
}

static void norm_back_of(const double *in, const double *dout, double *din,
                         enum kernel_norm kind)
{
    double y[18], sum[18], stats[6];
    struct kernel_norm_args a = norm_of(in, kind);
    reference__norm(NULL, &a, y, sum, stats, in, in + 18);
    zero(din + 36, 12);
    reference__norm_back(NULL, &a, din, din + 36, a.bias != NULL ? din + 42 : NULL,
                         dout, sum, stats, dout + 18, NULL);
    memcpy(din + 18, din, 18 * sizeof(*din)); /* x and add are one sum */
}

#define NORM(name, kind)                                                               \
    static void name##_forward(const double *in, double *out)                          \
    {                                                                                  \
        double stats[6];                                                               \
        struct kernel_norm_args a = norm_of(in, kind);                                 \
        reference__norm(NULL, &a, out, out + 18, stats, in, in + 18);                  \
    }                                                                                  \
    static void name##_backward(const double *in, const double *dout, double *din)     \
    {                                                                                  \
        norm_back_of(in, dout, din, kind);                                             \
    }
NORM(layernorm, KERNEL_LAYERNORM)
NORM(rmsnorm, KERNEL_RMSNORM)

/* --- embeddings: in is a table [4,3], positions [2,3]; two sequences of two --- */

static const int32_t ids[] = {2, 0, 2, 3}, order[] = {1, 0, 2, 3};
static const struct kernel_rows rows = {
    .count = 4, .width = 3, .table = 4, .ids = ids, .order = order};

static void embed_forward(const double *in, double *out)
{
    reference__embed(NULL, &rows, out, in, in + 12, 2);
}

static void embed_backward(const double *in, const double *dout, double *din)
{
    (void)in;
    zero(din, 18);
    reference__embed_back(NULL, &rows, din, din + 12, dout, 2);
}

/* --- rotary positions: in is qkv [1,3,(2+2)*4], q_weight, k_weight --- */

static const double cosines[] = {1, 1, 0.54, 0.99, -0.41, 0.98},
                    sines[] = {0, 0, 0.84, 0.01, 0.9, 0.02};

static struct kernel_rope rope_of(const double *in, bool weights)
{
    return (struct kernel_rope){.batch = 1,
                                .length = 3,
                                .heads = 2,
                                .kv_heads = 1,
                                .size = 4,
                                .cosine = cosines,
                                .sine = sines,
                                .q_weight = weights ? in + 48 : NULL,
                                .k_weight = weights ? in + 52 : NULL,
                                .epsilon = 1e-3};
}

static void rope_back_of(const double *in, const double *dout, double *din,
                         bool weights)
{
    double y[48], stats[9];
    struct kernel_rope r = rope_of(in, weights);
    reference__rope(NULL, &r, y, stats, in);
    zero(din + 48, weights ? 8 : 0);
    memcpy(din, dout, 48 * sizeof(*din)); /* in place */
    reference__rope_back(NULL, &r, din, weights ? din + 48 : NULL,
                         weights ? din + 52 : NULL, din, in, stats, NULL);
}

#define ROPE(name, weights)                                                            \
    static void name##_forward(const double *in, double *out)                          \
    {                                                                                  \
        double stats[9];                                                               \
        struct kernel_rope r = rope_of(in, weights);                                   \
        reference__rope(NULL, &r, out, stats, in);                                     \
    }                                                                                  \
    static void name##_backward(const double *in, const double *dout, double *din)     \
    {                                                                                  \
        rope_back_of(in, dout, din, weights);                                          \
    }
ROPE(rope, false)
ROPE(rope_norm, true)

/* --- attention: in is qkv [2,5,(4+2*2)*3] --- */

static const struct kernel_attention attention = {
    .batch = 2, .length = 5, .heads = 4, .kv_heads = 2, .size = 3, .scale = 0.8};

static void attention_forward(const double *in, double *out)
{
    double lse[40];
    reference__attention(NULL, &attention, out, lse, in);
}

static void attention_backward(const double *in, const double *dout, double *din)
{
    double lse[40], out[120], scratch[240];
    ck_assert_uint_le(reference__attention_scratch(NULL, &attention), sizeof(scratch));
    reference__attention(NULL, &attention, out, lse, in);
    reference__attention_back(NULL, &attention, din, dout, out, lse, in, scratch);
}

/* --- losses --- */

static const int32_t targets[] = {1, -1, 4};
static const double class_weights[] = {1, 0.5, 2, 1, 3};

static struct kernel_loss loss_of(double scale, bool gradient)
{
    return (struct kernel_loss){.rows = 3,
                                .classes = 5,
                                .stride = 7,
                                .targets = targets,
                                .class_weights = class_weights,
                                .scale = scale,
                                .gradient = gradient};
}

static void entropy_forward(const double *in, double *out)
{
    double logits[21], losses[3];
    struct kernel_loss l = loss_of(0, false);
    memcpy(logits, in, sizeof(logits));
    reference__cross_entropy(NULL, &l, losses, NULL, logits);
    ck_assert_mem_eq(logits, in, sizeof(logits));
    out[0] = losses[0] + losses[1] + losses[2];
}

static void entropy_backward(const double *in, const double *dout, double *din)
{
    double losses[3];
    struct kernel_loss l = loss_of(dout[0], true);
    memcpy(din, in, 21 * sizeof(*din));
    reference__cross_entropy(NULL, &l, losses, NULL, din);
}

static void error_forward(const double *in, double *out)
{
    double y[12], target[12] = {1, 2, 3, -1}, losses[3];
    memcpy(y, in, sizeof(y));
    reference__squared_error(NULL, losses, y, target, 3, 4, 0, false, KERNEL_F32);
    out[0] = losses[0] + losses[1] + losses[2];
}

static void error_backward(const double *in, const double *dout, double *din)
{
    double target[12] = {1, 2, 3, -1}, losses[3];
    memcpy(din, in, 12 * sizeof(*din));
    reference__squared_error(NULL, losses, din, target, 3, 4, dout[0], true,
                             KERNEL_F32);
}

#define PROBE(name, inputs, outputs)                                                   \
    {                                                                                  \
#name, inputs, outputs, name##_forward, name##_backward                        \
    }
static const struct probe probes[] = {
    PROBE(nn, 39, 12),        PROBE(nt, 39, 12),        PROBE(tn, 39, 12),
    PROBE(tt, 39, 12),        PROBE(linear, 40, 40),    PROBE(relu, 40, 40),
    PROBE(gelu, 40, 40),      PROBE(silu, 40, 40),      PROBE(hyperbolic, 40, 40),
    PROBE(sigmoids, 40, 40),  PROBE(swiglu, 30, 15),    PROBE(dropout, 50, 50),
    PROBE(layernorm, 48, 36), PROBE(rmsnorm, 42, 36),   PROBE(embed, 18, 12),
    PROBE(rope, 48, 48),      PROBE(rope_norm, 56, 48), PROBE(attention, 240, 120),
    PROBE(entropy, 21, 1),    PROBE(error, 12, 1),
};

START_TEST(backward)
{
    check_probe(&probes[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_grad");
    TCase *tc = tcase_create("all");
    tcase_add_loop_test(tc, backward, 0, sizeof(probes) / sizeof(*probes));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
