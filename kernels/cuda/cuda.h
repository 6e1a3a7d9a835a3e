/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of raywf-cuda.so share: the context, how failures are kept, and the
 * launchers that table.c lists. Host code is C; kernels are CUDA C++ (device.cuh).
 *
 * Everything is queued on context->stream. partials is scratch of the kernels that
 * reduce in two steps: the stream's order makes one block enough for all of them.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H
#include <cuda_runtime_api.h>
#include "own.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_MARKS 16

struct cuda_products; /* matmul.c: cuBLASLt and what it chose */

struct kernel_context {
    int device;
    int sms;       /* multiprocessors */
    int capable;   /* 10 * major + minor of the compute capability */
    size_t shared; /* bytes of shared memory one block may ask for */
    cudaStream_t stream, side;
    cudaEvent_t marks[CUDA_MARKS], written;
    bool marked[CUDA_MARKS];
    float *partials;
    size_t partials_size;
    unsigned *counters; /* zeros between launches: a kernel that counts leaves them so */
    bool recording;     /* calls are recorded: none may wait */
    struct cuda_products *products;
    char failed[192]; /* the first failure; "": none */
    void *mail;       /* of hopper_q4.cu's blocks: all bits are set between launches */
    void *room;       /* of q4.c: weights to be packed */
    size_t room_size;
};

static inline bool aligned16(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

/* Keeps the first failure. */
void cuda__fail(struct kernel_context *c, const char *what, const char *why);
/* Keeps code under the name of the call when it is an error. */
void cuda__check(struct kernel_context *c, const char *what, cudaError_t code);
/* Right after a launch. */
void cuda__launched(struct kernel_context *c, const char *what);
/* The context's scratch, of that size at least; NULL after a failure. */
float *cuda__partials(struct kernel_context *c, size_t bytes);
/* Opens one of the shared libraries at run time: the first of names that is there. NULL
 * with a line for people in error. */
void *cuda__library(const char *const *names, const char *what, char *error,
                    size_t size);

/* --- context.c --- */
struct kernel_context *cuda__open(const struct kernel_options *o, char *error,
                                  size_t size);
void cuda__close(struct kernel_context *c);
void cuda__info(struct kernel_context *c, struct kernel_info *ret);
size_t cuda__own_bytes(struct kernel_context *c, const struct kernel_decoder *d);
/* --- memory.c --- */
void *cuda__alloc(struct kernel_context *c, size_t bytes);
void cuda__free(struct kernel_context *c, void *p);
void *cuda__alloc_host(struct kernel_context *c, size_t bytes);
void cuda__free_host(struct kernel_context *c, void *p);
void cuda__upload(struct kernel_context *c, void *to, const void *from_host,
                  size_t bytes);
void cuda__download(struct kernel_context *c, void *to_host, const void *from,
                    size_t bytes);
void cuda__copy(struct kernel_context *c, void *to, const void *from, size_t bytes);
/* copy.cu: few bytes, wherever they are. false: it did nothing. */
bool cuda__copy_few(struct kernel_context *c, void *to, const void *from, size_t bytes);
void cuda__zero(struct kernel_context *c, void *p, size_t bytes);
int cuda__sync(struct kernel_context *c, char *error, size_t size);
void cuda__mark(struct kernel_context *c, int slot);
void cuda__wait(struct kernel_context *c, int slot);
void cuda__side_download(struct kernel_context *c, void *to_host, const void *from,
                         size_t bytes);
void cuda__side_wait(struct kernel_context *c);
/* --- matmul.c; plain_matmul.cu for what cuBLASLt has no kernel for --- */
struct cuda_products *cuda__products_open(char *error, size_t size);
void cuda__products_close(struct cuda_products *p);
void cuda__matmul(struct kernel_context *c, const struct kernel_matmul *m);
void cuda__plain_matmul(struct kernel_context *c, const struct kernel_matmul *m);
/* c (stride ldc) = act(c + bias), keeping c + bias in before; bias, before may be NULL.
 */
void cuda__finish_matmul(struct kernel_context *c, const struct kernel_matmul *m);
/* --- elementwise.cu --- */
void cuda__activate(struct kernel_context *c, void *y, const void *x, int64_t n,
                    enum kernel_activation act, enum kernel_type type);
void cuda__activate_back(struct kernel_context *c, void *dx, const void *dy,
                         const void *x, int64_t n, enum kernel_activation act,
                         enum kernel_type type);
void cuda__swiglu(struct kernel_context *c, void *y, const void *x, int64_t rows,
                  int64_t n, enum kernel_type type);
void cuda__swiglu_back(struct kernel_context *c, void *dx, const void *dy,
                       const void *x, int64_t rows, int64_t n, enum kernel_type type);
void cuda__dropout(struct kernel_context *c, void *y, const void *x, int64_t n, float p,
                   uint64_t seed, uint64_t offset, enum kernel_type type);
void cuda__add(struct kernel_context *c, void *y, const void *x, float a, int64_t n,
               enum kernel_type type);
void cuda__scale(struct kernel_context *c, float *x, float a, int64_t n);
void cuda__to_float(struct kernel_context *c, float *y, const void *x, int64_t n,
                    enum kernel_type type);
void cuda__from_float(struct kernel_context *c, void *y, const float *x, int64_t n,
                      enum kernel_type type);
/* --- reduce.cu --- */
void cuda__sum_rows(struct kernel_context *c, float *into, const void *x, int64_t m,
                    int64_t n, enum kernel_type type, bool accumulate);
void cuda__sum_squares(struct kernel_context *c, float *into, const float *x, int64_t n,
                       bool accumulate);
void cuda__sum(struct kernel_context *c, float *into, const float *x, int64_t n);
/* into[n] (+)= the sums of the first n columns of partial [rows, stride]. */
void cuda__sum_partials(struct kernel_context *c, float *into, const float *partial,
                        int rows, int64_t n, int64_t stride, bool accumulate);
/* A sum of the 32-bit words, each times a number of its place; waits. */
uint64_t cuda__bits(struct kernel_context *c, const void *p, size_t bytes);
/* --- norm.cu --- */
void cuda__norm(struct kernel_context *c, const struct kernel_norm_args *a, void *y,
                void *sum, float *stats, const void *x, const void *add);
void cuda__norm_back(struct kernel_context *c, const struct kernel_norm_args *a,
                     void *dx, float *dweight, float *dbias, const void *dy,
                     const void *x, const float *stats, const void *dsum,
                     void *scratch);
size_t cuda__norm_scratch(struct kernel_context *c, const struct kernel_norm_args *a);
/* --- rows.cu --- */
void cuda__embed(struct kernel_context *c, const struct kernel_rows *r, void *out,
                 const void *table, const void *positions, int64_t length);
void cuda__embed_back(struct kernel_context *c, const struct kernel_rows *r,
                      float *dtable, float *dpositions, const void *d, int64_t length);
/* --- rope.cu --- */
void cuda__rope(struct kernel_context *c, const struct kernel_rope *r, void *y,
                float *stats, const void *x);
void cuda__rope_back(struct kernel_context *c, const struct kernel_rope *r, void *dx,
                     float *dq_weight, float *dk_weight, const void *dy, const void *x,
                     const float *stats, void *scratch);
size_t cuda__rope_scratch(struct kernel_context *c, const struct kernel_rope *r);
/* --- attention.c chooses: attention_*.cu for bf16, plain_attention.cu for float --- */
void cuda__attention(struct kernel_context *c, const struct kernel_attention *a,
                     void *out, float *lse, const void *qkv);
void cuda__attention_back(struct kernel_context *c, const struct kernel_attention *a,
                          void *dqkv, const void *dout, const void *out,
                          const float *lse, const void *qkv, void *scratch);
size_t cuda__attention_scratch(struct kernel_context *c,
                               const struct kernel_attention *a);
void cuda__attention_bf16(struct kernel_context *c, const struct kernel_attention *a,
                          void *out, float *lse, const void *qkv);
void cuda__attention_back_bf16(struct kernel_context *c,
                               const struct kernel_attention *a, void *dqkv,
                               const void *dout, const float *lse, const void *qkv,
                               float *delta, void *scratch);
/* Compute capability 9.0, heads of 64. */
void cuda__attention_hopper(struct kernel_context *c, const struct kernel_attention *a,
                            void *out, float *lse, const void *qkv);
void cuda__attention_back_hopper(struct kernel_context *c,
                                 const struct kernel_attention *a, void *dqkv,
                                 const void *dout, const void *out, const float *lse,
                                 const void *qkv, void *scratch);
size_t cuda__attention_back_scratch_hopper(const struct kernel_attention *a);
size_t cuda__attention_back_scratch_bf16(const struct kernel_attention *a);
void cuda__attention_plain(struct kernel_context *c, const struct kernel_attention *a,
                           void *out, float *lse, const void *qkv);
void cuda__attention_back_plain(struct kernel_context *c,
                                const struct kernel_attention *a, void *dqkv,
                                const void *dout, const float *lse, const void *qkv,
                                const float *delta);
/* delta [batch, heads, length] = sums of dout * out over a head. */
void cuda__attention_delta(struct kernel_context *c, const struct kernel_attention *a,
                           float *delta, const void *dout, const void *out);
/* --- skinny.cu: products with few rows; false: not one of them --- */
bool cuda__skinny_matmul(struct kernel_context *c, const struct kernel_matmul *m);
/* --- paged_rope.cu --- */
void cuda__rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                      const struct kernel_paged *a, void *q, const void *qkv);
/* --- paged.c chooses: paged_decode.cu for sequences with one new token, and for those
 * with more paged_prefill.cu or hopper_paged.cu; paged_plain.cu for other types and sizes
 * --- */
void cuda__paged_attention(struct kernel_context *c, const struct kernel_paged *a,
                           void *out, const void *q, void *scratch);
size_t cuda__paged_scratch(struct kernel_context *c, const struct kernel_paged *a);
void cuda__paged_decode(struct kernel_context *c, const struct kernel_paged *a,
                        void *out, const void *q, void *scratch);
size_t cuda__paged_decode_scratch(struct kernel_context *c,
                                  const struct kernel_paged *a);
void cuda__paged_prefill(struct kernel_context *c, const struct kernel_paged *a,
                         void *out, const void *q);
/* Compute capability 9.0, heads of 128; false: not launched. */
bool cuda__paged_prefill_hopper(struct kernel_context *c, const struct kernel_paged *a,
                                void *out, const void *q);
void cuda__paged_plain(struct kernel_context *c, const struct kernel_paged *a,
                       void *out, const void *q);
/* --- q4.c chooses: hopper_q4.cu or q4_small.cu for few rows, for more q4_pack.cu's
 * dequantised weights --- */
size_t cuda__q4_bytes(struct kernel_context *c, const struct kernel_q4 *w);
int cuda__q4_pack(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                  const struct kernel_q4_source *from, char *error, size_t size);
void cuda__q4_matmul(struct kernel_context *c, const struct kernel_q4 *w,
                     const void *packed, void *out, const void *x, int64_t m,
                     enum kernel_type type, enum kernel_type c_type, void *scratch);
void cuda__q4_packed(struct kernel_context *c);
size_t cuda__q4_scratch(struct kernel_context *c, const struct kernel_q4 *w, int64_t m);
/* Arrays are the device's. */
void cuda__q4_repack(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                     const struct kernel_q4_source *from);
/* weights [n, k] of bf16 */
void cuda__q4_unpack(struct kernel_context *c, const struct kernel_q4 *w, void *weights,
                     const void *packed);
void cuda__q4_small(struct kernel_context *c, const struct kernel_q4 *w,
                    const void *packed, void *out, const void *x, int64_t m,
                    enum kernel_type c_type);
/* Compute capability 9.0, rows of bf16. */
void cuda__q4_hopper(struct kernel_context *c, const struct kernel_q4 *w,
                     const void *packed, void *out, const void *x, int64_t m,
                     enum kernel_type c_type);
/* Rows of float. */
void cuda__q4_plain(struct kernel_context *c, const struct kernel_q4 *w,
                    const void *packed, void *out, const void *x, int64_t m,
                    enum kernel_type c_type);
/* --- decoder.c, decoder.cu --- */
struct kernel_decoder_state *cuda__decoder_open(struct kernel_context *c,
                                                const struct kernel_decoder *d);
bool cuda__decoder_fits(const struct kernel_decoder_state *d, int sequences);
void cuda__decoder_run(struct kernel_context *c, const struct kernel_decoder_state *d,
                       const int32_t *ids, void *x, void *delta,
                       const struct kernel_sequences *s);
void cuda__decoder_close(struct kernel_context *c, struct kernel_decoder_state *d);
/* --- sample.cu --- */
void cuda__edit(struct kernel_context *c, float *logits, int64_t stride,
                const struct kernel_edit *edits, int64_t count);
void cuda__sample(struct kernel_context *c, const struct kernel_sample *s,
                  void *scratch);
size_t cuda__sample_scratch(struct kernel_context *c, int rows, int64_t vocab);
/* --- graph.c --- */
void cuda__record(struct kernel_context *c);
struct kernel_graph *cuda__record_end(struct kernel_context *c);
void cuda__replay(struct kernel_context *c, struct kernel_graph *g);
void cuda__graph_free(struct kernel_context *c, struct kernel_graph *g);
/* --- loss.cu --- */
void cuda__cross_entropy(struct kernel_context *c, const struct kernel_loss *l,
                         float *losses, float *correct, void *logits);
void cuda__squared_error(struct kernel_context *c, float *losses, void *y,
                         const float *target, int64_t rows, int64_t width, float scale,
                         bool gradient, enum kernel_type type);
/* --- update.cu --- */
void cuda__update(struct kernel_context *c, const struct kernel_update *u);
void cuda__clip(struct kernel_context *c, float *scale, const float *squares,
                float most);
/* --- comm.c --- */
int cuda__comm_id(unsigned char id[128], char *error, size_t size);
struct kernel_comm *cuda__comm_open(struct kernel_context *c,
                                    const unsigned char id[128], int rank, int size,
                                    char *error, size_t error_size);
void cuda__comm_close(struct kernel_comm *m);
void cuda__comm_sum(struct kernel_comm *m, float *to, const float *from, int64_t count);
void cuda__comm_scatter(struct kernel_comm *m, float *to, const float *from,
                        int64_t count);
void cuda__comm_gather(struct kernel_comm *m, void *to, const void *from,
                       int64_t bytes);
void cuda__comm_broadcast(struct kernel_comm *m, void *buffer, int64_t bytes, int root);
void cuda__comm_wait(struct kernel_comm *m);
int cuda__comm_check(struct kernel_comm *m, char *error, size_t size);

#ifdef __cplusplus
}
#endif
#endif
