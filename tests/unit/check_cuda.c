/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf-cuda.so: products, operations element by element, memory, order, failures and
 * groups; check_cuda_layers.c has the rest. Skipped where there is no GPU.
 */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda_rig.h"

/* --- products --- */

CALL(call_matmul)
{
    struct kernel_matmul m = *(const struct kernel_matmul *)arguments;
    bool bias = m.bias != NULL, before = m.before != NULL;
    m.a = b[0];
    m.b = b[1];
    m.c = b[2];
    m.bias = bias ? b[3] : NULL;
    m.before = before ? b[4] : NULL;
    on->matmul(at, &m);
}

static void check_matmul(struct kernel_matmul m)
{
    char name[128];
    int64_t lda = m.lda  ? m.lda
                  : m.ta ? m.m
                         : m.k,
            ldb = m.ldb  ? m.ldb
                  : m.tb ? m.k
                         : m.n;
    int64_t ldc = m.ldc ? m.ldc : m.n;
    snprintf(name, sizeof(name),
             "matmul %dx%dx%d ld %d,%d,%d t%d%d type %d%d acc %d bias %d act %d%s",
             (int)m.m, (int)m.n, (int)m.k, (int)m.lda, (int)m.ldb, (int)m.ldc, m.ta,
             m.tb, m.type, m.c_type, m.accumulate, m.bias != NULL, m.act,
             m.before != NULL ? " before" : "");
    struct rig_case t = {name,
                         call_matmul,
                         &m,
                         m.c_type == KERNEL_BF16 ? 1.2e-2 : 2e-5,
                         {{RIG_IN, m.type, (m.ta ? m.k : m.m) * lda, NULL, 0, 0},
                          {RIG_IN, m.type, (m.tb ? m.n : m.k) * ldb, NULL, 0, 0},
                          /* What lies between rows must stay: random, and compared. */
                          {m.accumulate || ldc != m.n ? RIG_BOTH : RIG_OUT, m.c_type,
                           m.m * ldc, NULL, 0, 0},
                          {RIG_IN, m.type, m.n, NULL, 0, 0},
                          {RIG_BOTH, m.c_type, m.m * ldc, NULL, 0, 0}}};
    rig_check(rig_c, &t);
}

START_TEST(products_of_all_layouts)
{
    static const int shapes[][3] = {{1, 1, 1},     {7, 5, 3},      {33, 65, 17},
                                    {64, 128, 64}, {200, 72, 136}, {128, 256, 1024},
                                    {3, 1000, 9}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 32; bits++) {
            enum kernel_type type = rig_types[bits & 1];
            enum kernel_type c_type = bits & 16 ? KERNEL_F32 : type;
            check_matmul((struct kernel_matmul){.m = shapes[i][0],
                                                .n = shapes[i][1],
                                                .k = shapes[i][2],
                                                .ta = bits & 2,
                                                .tb = bits & 4,
                                                .type = type,
                                                .c_type = c_type,
                                                .alpha = 0.75f,
                                                .accumulate = bits & 8});
        }
}
END_TEST

START_TEST(products_with_epilogues)
{
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++)
        for (int bits = 0; bits < 32; bits++)
            check_matmul((struct kernel_matmul){
                .m = bits & 8 ? 37 : 64,
                .n = bits & 8 ? 41 : 96,
                .k = 48,
                .tb = true,
                .type = rig_types[bits & 1],
                .c_type = bits & 16 ? KERNEL_F32 : rig_types[bits & 1],
                .alpha = 1,
                .act = act,
                .bias = bits & 2 ? &bits : NULL,
                .before = bits & 4 ? &bits : NULL});
}
END_TEST

START_TEST(products_with_strides)
{
    for (int bits = 0; bits < 16; bits++)
        check_matmul((struct kernel_matmul){.m = 24,
                                            .n = 40,
                                            .k = 56,
                                            .lda = 80,
                                            .ldb = 88,
                                            .ldc = bits & 8 ? 41 : 48,
                                            .ta = bits & 2,
                                            .tb = bits & 4,
                                            .type = rig_types[bits & 1],
                                            .c_type = rig_types[bits & 1],
                                            .alpha = 1,
                                            .bias = &bits,
                                            .act = KERNEL_GELU,
                                            .before = &bits});
}
END_TEST

CALL(call_sum_rows)
{
    const struct sizes *s = arguments;
    on->sum_rows(at, b[1], b[0], s->m, s->n, s->type, s->option);
}

START_TEST(sums_of_rows)
{
    static const int shapes[][2] = {{1, 1},     {5, 3},    {1000, 7},
                                    {513, 768}, {2, 2304}, {300, 264}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (int bits = 0; bits < 4; bits++) {
            struct sizes s = {shapes[i][0], shapes[i][1], rig_types[bits & 1], bits & 2,
                              0};
            struct rig_case t = {
                "sum_rows",
                call_sum_rows,
                &s,
                2e-5,
                {{RIG_IN, s.type, s.m * s.n, NULL, 0, 0},
                 {bits & 2 ? RIG_BOTH : RIG_OUT, KERNEL_F32, s.n, NULL, 0, 0}}};
            rig_check(rig_c, &t);
        }
}
END_TEST

/* --- element by element --- */

CALL(call_activate)
{
    const struct sizes *s = arguments;
    on->activate(at, b[1], b[0], s->n, (enum kernel_activation)s->option, s->type);
    on->activate_back(at, b[3], b[2], b[0], s->n, (enum kernel_activation)s->option,
                      s->type);
}

START_TEST(activations)
{
    static const int counts[] = {1, 7, 1000, 4096};
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++)
        for (int i = 0; i < 8; i++) {
            struct sizes s = {0, counts[i / 2], rig_types[i & 1], act, 0};
            struct rig_case t = {"activate",
                                 call_activate,
                                 &s,
                                 rig_near(s.type),
                                 {{RIG_IN, s.type, s.n, NULL, 0, 0},
                                  {RIG_OUT, s.type, s.n, NULL, 0, 0},
                                  {RIG_IN, s.type, s.n, NULL, 0, 0},
                                  {RIG_OUT, s.type, s.n, NULL, 0, 0}}};
            rig_check(rig_c, &t);
        }
}
END_TEST

/* Far from 0, where exp and tanh saturate. */
START_TEST(activations_of_large_numbers)
{
    float x[64];
    for (int i = 0; i < 64; i++)
        x[i] = (float)(i - 32) * (float)abs(i - 32) * 0.2f;
    for (int act = KERNEL_LINEAR; act <= KERNEL_SIGMOID; act++) {
        struct sizes s = {0, 64, KERNEL_F32, act, 0};
        struct rig_case t = {"activate large",
                             call_activate,
                             &s,
                             2e-5,
                             {{RIG_GIVEN, KERNEL_F32, 64, x, sizeof(x), 0},
                              {RIG_OUT, KERNEL_F32, 64, NULL, 0, 0},
                              {RIG_IN, KERNEL_F32, 64, NULL, 0, 0},
                              {RIG_OUT, KERNEL_F32, 64, NULL, 0, 0}}};
        rig_check(rig_c, &t);
    }
}
END_TEST

CALL(call_swiglu)
{
    const struct sizes *s = arguments;
    on->swiglu(at, b[1], b[0], s->m, s->n, s->type);
    on->swiglu_back(at, b[3], b[2], b[0], s->m, s->n, s->type);
}

START_TEST(swiglu)
{
    static const int widths[] = {1, 5, 64, 200};
    for (int i = 0; i < 8; i++) {
        struct sizes s = {19, widths[i / 2], rig_types[i & 1], 0, 0};
        struct rig_case t = {"swiglu",
                             call_swiglu,
                             &s,
                             rig_near(s.type),
                             {{RIG_IN, s.type, s.m * s.n * 2, NULL, 0, 0},
                              {RIG_OUT, s.type, s.m * s.n, NULL, 0, 0},
                              {RIG_IN, s.type, s.m * s.n, NULL, 0, 0},
                              {RIG_OUT, s.type, s.m * s.n * 2, NULL, 0, 0}}};
        rig_check(rig_c, &t);
    }
}
END_TEST

CALL(call_elements)
{
    const struct sizes *s = arguments;
    on->dropout(at, b[1], b[0], s->n, s->value, 0x123456789abcdef0u, 77, s->type);
    on->add(at, b[2], b[0], s->value, s->n, s->type);
    on->to_float(at, b[3], b[0], s->n, s->type);
    on->from_float(at, b[4], b[5], s->n, s->type);
    on->scale(at, b[6], s->value, s->n);
    on->copy(at, b[7], b[5], (size_t)s->n * 4);
    on->zero(at, b[8], (size_t)s->n * 4);
}

START_TEST(dropout_casts_and_sums)
{
    static const int counts[] = {1, 6, 515, 8192};
    static const float rates[] = {0, 0.1f, 0.5f};
    for (int i = 0; i < 24; i++) {
        struct sizes s = {0, counts[i / 6], rig_types[i & 1], 0, rates[i / 2 % 3]};
        struct rig_case t = {"elements",
                             call_elements,
                             &s,
                             rig_near(s.type),
                             {{RIG_IN, s.type, s.n, NULL, 0, 0},
                              {RIG_OUT, s.type, s.n, NULL, 0, 0},
                              {RIG_BOTH, s.type, s.n, NULL, 0, 0},
                              {RIG_OUT, KERNEL_F32, s.n, NULL, 0, 1e-7},
                              {RIG_OUT, s.type, s.n, NULL, 0, 1e-7},
                              {RIG_IN, KERNEL_F32, s.n, NULL, 0, 0},
                              {RIG_BOTH, KERNEL_F32, s.n, NULL, 0, 1e-6},
                              {RIG_OUT, KERNEL_F32, s.n, NULL, 0, 1e-7},
                              {RIG_OUT, KERNEL_F32, s.n, NULL, 0, 1e-7}}};
        rig_check(rig_c, &t);
    }
}
END_TEST

/* --- memory, order, failures --- */

START_TEST(copies_marks_and_the_side)
{
    char error[256] = "";
    size_t bytes = 1 << 20;
    char *host = rig_k->alloc_host(rig_c, bytes),
         *back = rig_k->alloc_host(rig_c, bytes);
    void *device = rig_k->alloc(rig_c, bytes);
    ck_assert(host != NULL && back != NULL && device != NULL);
    ck_assert_int_eq((int)((uintptr_t)device % 256), 0);
    for (size_t i = 0; i < bytes; i++)
        host[i] = (char)(i * 31);
    rig_k->wait(rig_c, 3); /* no mark yet: at once */
    rig_k->upload(rig_c, device, host, bytes);
    rig_k->mark(rig_c, 3);
    rig_k->wait(rig_c, 3);
    memset(back, 0, bytes);
    rig_k->side_download(rig_c, back, device, bytes);
    rig_k->side_wait(rig_c);
    ck_assert_int_eq(memcmp(host, back, bytes), 0);
    ck_assert_int_eq(rig_k->sync(rig_c, error, sizeof(error)), 0);
    rig_k->free(rig_c, device);
    rig_k->free_host(rig_c, host);
    rig_k->free_host(rig_c, back);
}
END_TEST

START_TEST(what_it_is_and_too_much_memory)
{
    struct kernel_info info;
    char error[256] = "";
    rig_k->info(rig_c, &info);
    printf("check_cuda: %s, %.1f GiB, %.0f TFLOP/s\n", info.name,
           (double)info.total / (1 << 30), info.peak_bf16 / 1e12);
    ck_assert(info.name[0] != '\0' && info.free > 0 && info.free <= info.total);
    ck_assert_ptr_null(rig_k->alloc(rig_c, info.total * 4));
    ck_assert_int_eq(rig_k->sync(rig_c, error, sizeof(error)), 0);
    ck_assert_ptr_null(
        rig_k->open(&(struct kernel_options){.device = 99}, error, sizeof(error)));
    ck_assert_msg(strstr(error, "GPU 99 is not there") != NULL, "%s", error);
}
END_TEST

START_TEST(failures_name_the_operation)
{
    char error[256] = "";
    struct kernel_context *other =
        rig_k->open(&(struct kernel_options){.device = 0}, error, sizeof(error));
    ck_assert_msg(other != NULL, "%s", error);
    struct kernel_rope r = {.type = KERNEL_F32,
                            .batch = 1,
                            .length = 1,
                            .heads = 1,
                            .kv_heads = 1,
                            .size = 7};
    rig_k->rope(other, &r, NULL, NULL, NULL);
    ck_assert_int_eq(rig_k->sync(other, error, sizeof(error)), -1);
    ck_assert_msg(strstr(error, "rope: ") != NULL, "%s", error);
    rig_k->close(other);
}
END_TEST

CALL(call_group)
{
    unsigned char id[128];
    char error[256] = "";
    (void)arguments;
    if (on->comm_id == NULL) { /* the reference: a group of one */
        memcpy(b[1], b[0], 4000);
        memcpy(b[2], b[0], 4000);
        memcpy(b[3], b[0], 4000);
        return;
    }
    ck_assert_msg(on->comm_id(id, error, sizeof(error)) == 0, "%s", error);
    struct kernel_comm *m = on->comm_open(at, id, 0, 1, error, sizeof(error));
    ck_assert_msg(m != NULL, "%s", error);
    on->comm_sum(m, b[1], b[0], 1000);
    on->comm_scatter(m, b[2], b[0], 1000);
    on->comm_gather(m, b[3], b[0], 4000);
    on->comm_broadcast(m, b[3], 4000, 0);
    on->comm_wait(m);
    ck_assert_msg(on->comm_check(m, error, sizeof(error)) == 0, "%s", error);
    on->sync(at, error, sizeof(error));
    on->comm_close(m);
}

START_TEST(a_group_of_one)
{
    struct rig_case t = {"comm",
                         call_group,
                         NULL,
                         1e-9,
                         {{RIG_IN, KERNEL_F32, 1000, NULL, 0, 0},
                          {RIG_OUT, KERNEL_F32, 1000, NULL, 0, 0},
                          {RIG_OUT, KERNEL_F32, 1000, NULL, 0, 0},
                          {RIG_OUT, KERNEL_F32, 1000, NULL, 0, 0}}};
    rig_check(rig_c, &t);
}
END_TEST

int main(void)
{
    const struct rig_part parts[] = {
        {"memory", what_it_is_and_too_much_memory},
        {"memory", copies_marks_and_the_side},
        {"products", products_of_all_layouts},
        {"products", products_with_epilogues},
        {"products", products_with_strides},
        {"elements", sums_of_rows},
        {"elements", activations},
        {"elements", activations_of_large_numbers},
        {"elements", swiglu},
        {"elements", dropout_casts_and_sums},
        {"failures", failures_name_the_operation},
        {"group", a_group_of_one},
    };
    return rig_main(parts, sizeof(parts) / sizeof(*parts));
}
