/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/unit/kernels_rig.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/host.h"

#define PIECES 24
#define GUARD 256
#define THREADS 4

struct piece {
    unsigned char *base; /* guard, bytes, guard */
    size_t bytes;
    int64_t n;
    enum kernel_type type;
    bool compared, exact;
};

static struct kernel_context *contexts[CPU_VARIANTS + 1][THREADS + 1];

static struct kernel_context *context(int v, const struct kernels *k, int threads)
{
    struct kernel_options o = {.threads = threads};
    char error[160] = "";
    if (contexts[v][threads] == NULL)
        contexts[v][threads] = k->open(&o, error, sizeof(error));
    if (contexts[v][threads] == NULL)
        ck_abort_msg("%s", error);
    return contexts[v][threads];
}

void rig_close(void)
{
    for (int v = 0; v <= CPU_VARIANTS; v++)
        for (int i = 0; i <= THREADS; i++) {
            if (contexts[v][i] != NULL)
                kernels_reference()->close(contexts[v][i]);
            contexts[v][i] = NULL;
        }
}

static void announce(void)
{
    for (int v = 0; v < CPU_VARIANTS; v++)
        if (!cpu__variant_runs((enum cpu_variant)v))
            printf("SKIPPED: %s: this processor cannot run it\n",
                   cpu__variant_name((enum cpu_variant)v));
}

static void *piece(struct trial *t, size_t bytes, int64_t n, enum kernel_type type,
                   bool compared)
{
    if (t->count == PIECES)
        ck_abort_msg("too many pieces");
    struct piece *p = &t->pieces[t->count++];
    *p = (struct piece){malloc(bytes + 2 * GUARD), bytes, n, type, compared, false};
    if (p->base == NULL)
        ck_abort_msg("no memory");
    memset(p->base, 0xa5, bytes + 2 * GUARD);
    memset(p->base + GUARD, 0xff, bytes); /* a NaN in both types */
    return p->base + GUARD;
}

static double next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static void *values(struct trial *t, int64_t n, enum kernel_type type, bool compared)
{
    uint64_t state = (uint64_t)t->count * 977 + 1;
    void *p = piece(t, (size_t)n * kernel_size(type), n, type, compared);
    for (int64_t i = 0; i < n; i++) {
        float value = (float)(2 * next(&state) - 1);
        if (type == KERNEL_BF16)
            ((uint16_t *)p)[i] = bf16_from_float(value);
        else
            ((float *)p)[i] = value;
    }
    return p;
}

void *rig_input(struct trial *t, int64_t n, enum kernel_type type)
{
    return values(t, n, type, false);
}

void *rig_changed(struct trial *t, int64_t n, enum kernel_type type)
{
    return values(t, n, type, true);
}

void *rig_output(struct trial *t, int64_t n, enum kernel_type type)
{
    return piece(t, (size_t)n * kernel_size(type), n, type, true);
}

int32_t *rig_ids(struct trial *t, int64_t n)
{
    int32_t *ids = piece(t, (size_t)n * sizeof(*ids), n, KERNEL_F32, true);
    t->pieces[t->count - 1].exact = true;
    return ids;
}

void *rig_scratch(struct trial *t, size_t bytes)
{
    return piece(t, bytes, 0, KERNEL_F32, false);
}

int32_t *rig_numbers(struct trial *t, int64_t n, int from, int to)
{
    uint64_t state = (uint64_t)t->count * 977 + 1;
    int32_t *p = piece(t, (size_t)n * sizeof(*p), n, KERNEL_F32, false);
    for (int64_t i = 0; i < n; i++)
        p[i] = from + (int32_t)(next(&state) * (to - from));
    return p;
}

static double element(const struct piece *p, int64_t i)
{
    const void *x = p->base + GUARD;
    return p->type == KERNEL_BF16 ? (double)bf16_to_float(((const uint16_t *)x)[i])
                                  : (double)((const float *)x)[i];
}

/* Room for one rounding to bfloat16 that falls the other way, beside the tolerance. */
static bool alike(double want, double got, double tolerance, enum kernel_type type)
{
    double room = tolerance * (1 + fabs(want));
    if (type == KERNEL_BF16)
        room += fabs(want) * 0x1p-7;
    return want == got || (isnan(want) && isnan(got)) || fabs(want - got) <= room;
}

static void compare(const struct trial *want, const struct trial *got, const char *what,
                    const char *variant)
{
    for (int i = 0; i < want->count; i++) {
        const struct piece *a = &want->pieces[i], *b = &got->pieces[i];
        if (!a->compared)
            continue;
        for (int64_t j = 0; a->exact && j < a->n; j++) {
            int x = ((int32_t *)(a->base + GUARD))[j];
            int y = ((int32_t *)(b->base + GUARD))[j];
            if (x != y)
                ck_abort_msg("%s, %s: number %lld of piece %d: reference %d, here %d",
                             what, variant, (long long)j, i, x, y);
        }
        for (int64_t j = 0; !a->exact && j < a->n; j++)
            if (!alike(element(a, j), element(b, j), got->tolerance, a->type))
                ck_abort_msg(
                    "%s, %s: element %lld of piece %d: reference %.9g, here %.9g", what,
                    variant, (long long)j, i, element(a, j), element(b, j));
    }
}

static void compare_bits(const struct trial *want, const struct trial *got,
                         const char *what, const char *variant, int threads)
{
    for (int i = 0; i < want->count; i++)
        if (want->pieces[i].compared &&
            memcmp(want->pieces[i].base, got->pieces[i].base,
                   want->pieces[i].bytes + 2 * GUARD) != 0)
            ck_abort_msg("%s, %s: piece %d differs with %d threads", what, variant, i,
                         threads);
}

static struct trial run(rig_op_fn op, const void *args, const struct kernels *k,
                        struct kernel_context *c, const char *what)
{
    struct trial t = {.k = k, .c = c, .tolerance = 1e-6};
    char error[160];
    t.pieces = calloc(PIECES, sizeof(*t.pieces));
    if (t.pieces == NULL)
        ck_abort_msg("no memory");
    op(&t, args);
    if (k->sync(c, error, sizeof(error)) != 0)
        ck_abort_msg("%s: %s", what, error);
    for (int i = 0; i < t.count; i++)
        for (size_t j = 0; j < GUARD; j++)
            if (t.pieces[i].base[j] != 0xa5 ||
                t.pieces[i].base[GUARD + t.pieces[i].bytes + j] != 0xa5)
                ck_abort_msg("%s: piece %d: written beyond its ends", what, i);
    return t;
}

static void done(struct trial *t)
{
    for (int i = 0; i < t->count; i++)
        free(t->pieces[i].base);
    free(t->pieces);
}

void rig_compare(rig_op_fn op, const void *args, const char *what)
{
    const struct kernels *reference = kernels_reference();
    struct trial want =
        run(op, args, reference, context(CPU_VARIANTS, reference, 1), what);
    for (int v = 0; v < CPU_VARIANTS; v++) {
        const struct kernels *k = cpu__variant_table((enum cpu_variant)v);
        const char *name = cpu__variant_name((enum cpu_variant)v);
        if (k == NULL)
            continue;
        struct trial one = run(op, args, k, context(v, k, 1), what);
        compare(&want, &one, what, name);
        for (int threads = 2; threads <= THREADS; threads++) {
            struct trial many = run(op, args, k, context(v, k, threads), what);
            compare_bits(&one, &many, what, name, threads);
            done(&many);
        }
        done(&one);
    }
    done(&want);
}

const struct kernels *rig_table(int i)
{
    return i == CPU_VARIANTS ? kernels_reference()
                             : cpu__variant_table((enum cpu_variant)i);
}

struct kernel_context *rig_open(const struct kernels *k)
{
    struct kernel_options o = {.threads = 2};
    char error[160] = "";
    struct kernel_context *c = k->open(&o, error, sizeof(error));
    ck_assert_msg(c != NULL, "%s", error);
    return c;
}

int rig_run(Suite *suite)
{
    announce();
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
