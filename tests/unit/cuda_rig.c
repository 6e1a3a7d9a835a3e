/* SPDX-License-Identifier: Apache-2.0
 *
 * See cuda_rig.h.
 */
#include "cuda_rig.h"
#include <check.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernels/cpu/bf16.h"

const struct kernels *rig_k;
struct kernel_context *rig_c;
const enum kernel_type rig_types[2] = {KERNEL_F32, KERNEL_BF16};
static uint64_t state = 1;

double rig_near(enum kernel_type type)
{
    return type == KERNEL_BF16 ? 8e-3 : 2e-5;
}

static float random_float(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 11) * 0x1p-52 - 1);
}

double rig_unit(void)
{
    static uint64_t last = 7;
    last = last * 6364136223846793005u + 1442695040888963407u;
    return (double)(last >> 11) * 0x1p-53;
}

int rig_below(int n)
{
    return (int)(rig_unit() * n);
}

/* The module and a GPU; NULL and why in error. */
static const struct kernels *open_module(struct kernel_context **ret, char *error,
                                         size_t size)
{
    const char *path = getenv("RAYWF_CUDA");
    void *module = dlopen(path != NULL ? path : "./raywf-cuda.so", RTLD_NOW);
    kernels_module_fn find = NULL;
    if (module == NULL) {
        snprintf(error, size, "%s", dlerror());
        return NULL;
    }
    *(void **)&find = dlsym(module, "raywf_kernels");
    if (find == NULL) {
        snprintf(error, size, "raywf-cuda.so has no raywf_kernels");
        return NULL;
    }
    const struct kernels *k = find();
    *ret = k->open(&(struct kernel_options){.device = 0}, error, size);
    return *ret != NULL ? k : NULL;
}

static size_t bytes_of(const struct rig_buffer *b)
{
    return b->bytes != 0 ? b->bytes : (size_t)b->count * kernel_size(b->type);
}

static double value_of(const void *p, int64_t i, enum kernel_type type)
{
    return type == KERNEL_BF16 ? (double)bf16_to_float(((const uint16_t *)p)[i])
                               : (double)((const float *)p)[i];
}

/* What a buffer holds before the call. */
void *rig_fill(const struct rig_buffer *b)
{
    char *p = malloc(bytes_of(b) + 1);
    ck_assert_ptr_nonnull(p);
    memset(p, 0xff, bytes_of(b)); /* a NaN in both types */
    if (b->from != NULL)
        memcpy(p, b->from, bytes_of(b));
    else if (b->kind == RIG_IN || b->kind == RIG_BOTH)
        for (int64_t i = 0; i < b->count; i++) {
            float v = random_float();
            if (b->type == KERNEL_BF16)
                ((uint16_t *)p)[i] = bf16_from_float(v);
            else
                ((float *)p)[i] = v;
        }
    return p;
}

static void compare(const char *name, int number, const struct rig_buffer *b,
                    const void *got, const void *want, double tolerance)
{
    double squares = 0, worst = 0;
    int64_t where = -1;
    for (int64_t i = 0; i < b->count; i++)
        squares += value_of(want, i, b->type) * value_of(want, i, b->type);
    double scale = b->count > 0 ? sqrt(squares / (double)b->count) : 0;
    for (int64_t i = 0; i < b->count; i++) {
        double w = value_of(want, i, b->type), g = value_of(got, i, b->type);
        double off = fabs(g - w) / (fabs(w) + scale + 1e-30);
        if (!(off <= worst)) { /* a NaN, too */
            worst = off;
            where = i;
        }
        if (isnan(off))
            break;
    }
    if (getenv("RIG_PRINT") != NULL)
        printf("%-44s buffer %d: worst %.2g (allowed %.2g)\n", name, number, worst,
               tolerance);
    ck_assert_msg(
        worst <= tolerance,
        "%s, buffer %d, element %lld of %lld: got %g, wanted %g (off by %.3g, %.3g "
        "is allowed)",
        name, number, (long long)where, (long long)b->count,
        value_of(got, where, b->type), value_of(want, where, b->type), worst,
        tolerance);
}

/* Runs it on the GPU; what the buffers hold then is in back. */
static void run(struct kernel_context *c, const struct rig_case *t, int count,
                void *const *start, void **device, void **back)
{
    char error[256] = "";
    for (int i = 0; i < count; i++)
        rig_k->upload(c, device[i], start[i], bytes_of(&t->buffers[i]));
    t->call(rig_k, c, device, t->arguments);
    for (int i = 0; i < count; i++)
        rig_k->download(c, back[i], device[i], bytes_of(&t->buffers[i]));
    ck_assert_msg(rig_k->sync(c, error, sizeof(error)) == 0, "%s: %s", t->name, error);
}

void rig_check(struct kernel_context *c, const struct rig_case *t)
{
    void *start[RIG_BUFFERS], *device[RIG_BUFFERS], *want[RIG_BUFFERS];
    void *first[RIG_BUFFERS], *second[RIG_BUFFERS];
    int count = 0;
    for (; count < RIG_BUFFERS && t->buffers[count].kind != RIG_END; count++) {
        size_t bytes = bytes_of(&t->buffers[count]);
        start[count] = rig_fill(&t->buffers[count]);
        device[count] = rig_k->alloc(c, bytes);
        want[count] = malloc(bytes + 1);
        first[count] = malloc(bytes + 1);
        second[count] = malloc(bytes + 1);
        ck_assert_ptr_nonnull(device[count]);
        memcpy(want[count], start[count], bytes);
    }
    t->call(kernels_reference(), NULL, want, t->arguments);
    run(c, t, count, start, device, first);
    run(c, t, count, start, device, second);
    for (int i = 0; i < count; i++) {
        const struct rig_buffer *b = &t->buffers[i];
        if (b->kind == RIG_OUT || b->kind == RIG_BOTH) {
            compare(t->name, i, b, first[i], want[i],
                    b->tolerance > 0 ? b->tolerance : t->tolerance);
            ck_assert_msg(memcmp(first[i], second[i], bytes_of(b)) == 0,
                          "%s: buffer %d differs between two runs", t->name, i);
        } else if (b->kind != RIG_SCRATCH) {
            ck_assert_msg(memcmp(first[i], start[i], bytes_of(b)) == 0,
                          "%s: buffer %d is an input and was written", t->name, i);
        }
        rig_k->free(c, device[i]);
        free(start[i]);
        free(want[i]);
        free(first[i]);
        free(second[i]);
    }
}

int rig_main(const struct rig_part *parts, size_t count)
{
    char error[256] = "";
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    rig_k = open_module(&rig_c, error, sizeof(error));
    if (rig_k == NULL) {
        printf("skipped: no GPU (%s)\n", error);
        return 77;
    }
    Suite *suite = suite_create("cuda");
    for (size_t i = 0; i < count; i++) {
        TCase *tests = tcase_create(parts[i].name);
        tcase_set_timeout(tests, 120);
        tcase_add_test(tests, parts[i].test);
        suite_add_tcase(suite, tests);
    }
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* CUDA does not survive a fork */
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    rig_k->close(rig_c);
    return failed == 0 ? 0 : 1;
}
