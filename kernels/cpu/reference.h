/* SPDX-License-Identifier: Apache-2.0
 *
 * The plain C version of every operation: written to be read, one element after the
 * other, sums in double. Everything faster is held against it.
 */
#ifndef RWF_KERNELS_CPU_REFERENCE_H
#define RWF_KERNELS_CPU_REFERENCE_H
#include "kernels/cpu/bf16.h"
#include "kernels/kernels.h"

static inline float get(const void *p, int64_t i, enum kernel_type type)
{
    return type == KERNEL_BF16 ? (float)bf16_to_float(((const uint16_t *)p)[i])
                               : ((const float *)p)[i];
}

static inline void put(void *p, int64_t i, enum kernel_type type, double value)
{
    if (type == KERNEL_BF16)
        ((uint16_t *)p)[i] = bf16_from_float((float)value);
    else
        ((float *)p)[i] = (float)value;
}

double reference__activate(double x, enum kernel_activation act);
double reference__slope(double x, enum kernel_activation act);

void reference__matmul(struct kernel_context *c, const struct kernel_matmul *m);
void reference__sum_rows(struct kernel_context *c, float *into, const void *x,
                         int64_t m, int64_t n, enum kernel_type type, bool accumulate);
void reference__activate_all(struct kernel_context *c, void *y, const void *x,
                             int64_t n, enum kernel_activation act,
                             enum kernel_type type);
void reference__activate_back(struct kernel_context *c, void *dx, const void *dy,
                              const void *x, int64_t n, enum kernel_activation act,
                              enum kernel_type type);
void reference__swiglu(struct kernel_context *c, void *y, const void *x, int64_t rows,
                       int64_t n, enum kernel_type type);
void reference__swiglu_back(struct kernel_context *c, void *dx, const void *dy,
                            const void *x, int64_t rows, int64_t n,
                            enum kernel_type type);
void reference__dropout(struct kernel_context *c, void *y, const void *x, int64_t n,
                        float p, uint64_t seed, uint64_t offset, enum kernel_type type);
void reference__add(struct kernel_context *c, void *y, const void *x, float a,
                    int64_t n, enum kernel_type type);
void reference__scale(struct kernel_context *c, float *x, float a, int64_t n);
void reference__to_float(struct kernel_context *c, float *y, const void *x, int64_t n,
                         enum kernel_type type);
void reference__from_float(struct kernel_context *c, void *y, const float *x, int64_t n,
                           enum kernel_type type);
void reference__norm(struct kernel_context *c, const struct kernel_norm_args *a,
                     void *y, void *sum, float *stats, const void *x, const void *add);
void reference__norm_back(struct kernel_context *c, const struct kernel_norm_args *a,
                          void *dx, float *dweight, float *dbias, const void *dy,
                          const void *x, const float *stats, const void *dsum,
                          void *scratch);
size_t reference__norm_scratch(struct kernel_context *c,
                               const struct kernel_norm_args *a);
void reference__embed(struct kernel_context *c, const struct kernel_rows *r, void *out,
                      const void *table, const void *positions, int64_t length);
void reference__embed_back(struct kernel_context *c, const struct kernel_rows *r,
                           float *dtable, float *dpositions, const void *d,
                           int64_t length);
void reference__rope(struct kernel_context *c, const struct kernel_rope *r, void *y,
                     float *stats, const void *x);
void reference__rope_back(struct kernel_context *c, const struct kernel_rope *r,
                          void *dx, float *dq_weight, float *dk_weight, const void *dy,
                          const void *x, const float *stats, void *scratch);
size_t reference__rope_scratch(struct kernel_context *c, const struct kernel_rope *r);
void reference__attention(struct kernel_context *c, const struct kernel_attention *a,
                          void *out, float *lse, const void *qkv);
void reference__attention_back(struct kernel_context *c,
                               const struct kernel_attention *a, void *dqkv,
                               const void *dout, const void *out, const float *lse,
                               const void *qkv, void *scratch);
size_t reference__attention_scratch(struct kernel_context *c,
                                    const struct kernel_attention *a);
void reference__cross_entropy(struct kernel_context *c, const struct kernel_loss *l,
                              float *losses, float *correct, void *logits);
void reference__squared_error(struct kernel_context *c, float *losses, void *y,
                              const float *target, int64_t rows, int64_t width,
                              float scale, bool gradient, enum kernel_type type);
void reference__update(struct kernel_context *c, const struct kernel_update *u);
void reference__sum_squares(struct kernel_context *c, float *into, const float *x,
                            int64_t n, bool accumulate);
void reference__sum(struct kernel_context *c, float *into, const float *x, int64_t n);
void reference__clip(struct kernel_context *c, float *scale, const float *squares,
                     float most);
void reference__rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                           const struct kernel_paged *a, void *q, const void *qkv);
void reference__paged_attention(struct kernel_context *c, const struct kernel_paged *a,
                                void *out, const void *q, void *scratch);
size_t reference__paged_scratch(struct kernel_context *c, const struct kernel_paged *a);
size_t reference__q4_bytes(struct kernel_context *c, const struct kernel_q4 *w);
int reference__q4_pack(struct kernel_context *c, const struct kernel_q4 *w,
                       void *packed, const struct kernel_q4_source *from, char *error,
                       size_t size);
void reference__q4_matmul(struct kernel_context *c, const struct kernel_q4 *w,
                          const void *packed, void *out, const void *x, int64_t m,
                          enum kernel_type type, enum kernel_type c_type,
                          void *scratch);
size_t reference__q4_scratch(struct kernel_context *c, const struct kernel_q4 *w,
                             int64_t m);
void reference__edit(struct kernel_context *c, float *logits, int64_t stride,
                     const struct kernel_edit *edits, int64_t count);
void reference__sample(struct kernel_context *c, const struct kernel_sample *s,
                       void *scratch);
size_t reference__sample_scratch(struct kernel_context *c, int rows, int64_t vocab);

#endif
