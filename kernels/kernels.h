/* SPDX-License-Identifier: Apache-2.0
 *
 * What a device can do, as one table of functions: kernels/cpu fills one, raywf-cuda.so
 * another. Models are written once, against this table.
 *
 * All matrices are row-major. Work is queued in order on the context's one stream (the CPU
 * does it at once); pointers are the device's memory unless a comment says host. Every
 * kernel is deterministic: the same input on the same device gives the same bits, whatever
 * the number of threads. A failed launch is remembered; sync tells of the first one.
 *
 * `type` is the type of activations and of the weights used in products. Gradients of
 * weights, statistics, losses, master weights and optimizer state are float always; the
 * arithmetic between loads and stores is float.
 */
#ifndef RWF_KERNELS_H
#define RWF_KERNELS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KERNELS_VERSION 5 /* of this table: a module of another one is refused */

enum kernel_type { KERNEL_F32, KERNEL_BF16 };
enum kernel_activation {
    KERNEL_LINEAR,
    KERNEL_RELU,
    KERNEL_GELU, /* the tanh approximation, GPT-2's */
    KERNEL_SILU,
    KERNEL_TANH,
    KERNEL_SIGMOID,
};
enum kernel_norm { KERNEL_LAYERNORM, KERNEL_RMSNORM };
enum kernel_optimizer { KERNEL_SGD, KERNEL_ADAMW, KERNEL_LION };

static inline size_t kernel_size(enum kernel_type type)
{
    return type == KERNEL_BF16 ? 2 : 4;
}

struct kernel_context; /* a device as one process uses it: threads, or a stream */
struct kernel_comm;    /* a group of processes, each with its own device */

struct kernel_options {
    int device;  /* CUDA: index among the visible ones */
    int threads; /* CPU: how many; 0: one */
};

struct kernel_info {
    char name[128];     /* "NVIDIA H200", "Intel Xeon … (avx512)" */
    size_t total, free; /* bytes of its memory */
    double peak_bf16;   /* dense FLOP/s of its data sheet, 0: not known */
    double peak_f32;
};

/* C[m,n] = act(alpha * op(A) op(B) + bias), or C + alpha * op(A) op(B) when accumulate (then
 * act, bias and before are not looked at). op(A) is [m,k]: A is stored [m,k], or [k,m] with ta.
 * op(B) is [k,n]: B is stored [k,n], or [n,k] with tb. Strides of rows in elements; 0:
 * contiguous. c_type: the type of C. C overlaps neither A nor B. */
struct kernel_matmul {
    int64_t m, n, k;
    bool ta, tb;
    const void *a, *b;
    void *c;
    int64_t lda, ldb, ldc;
    enum kernel_type type, c_type;
    float alpha;
    bool accumulate;
    const void *bias; /* [n] of `type`, or NULL */
    enum kernel_activation act;
    void *before; /* [m,n] of c_type with C's stride, gets the value before act (which is
                     applied to the value as it was before rounding); NULL: not kept */
};

/* Causal self-attention with grouped queries. qkv is [batch, length, (heads + 2 kv_heads) *
 * size]: per position all query heads, then key heads, then value heads. */
struct kernel_attention {
    enum kernel_type type;
    int batch, length, heads, kv_heads, size; /* size: of a head; CUDA: up to 256, fast in bf16
                                              with 64 and 128 */
    float scale;
};

/* Rotary positions (rotate-half, Qwen3's) and, when q_weight is not NULL, an RMSNorm of each
 * query and key head before (weights [size] each). Positions count from 0 in each sequence. */
struct kernel_rope {
    enum kernel_type type;
    int batch, length, heads, kv_heads, size;
    const float *cosine, *sine; /* [length, size / 2] */
    const void *q_weight, *k_weight; /* of `type`, or both NULL */
    float epsilon;
};

/* Rows of a table by number. For backward, host-made orders make the sum deterministic:
 * `order` lists the positions 0..count-1 sorted by (id, position). */
struct kernel_rows {
    enum kernel_type type;
    int64_t count, width; /* rows taken, elements of a row */
    int64_t table;        /* rows of the table */
    const int32_t *ids;   /* [count], 0 <= id < table */
    const int32_t *order; /* [count]; backward only */
};

struct kernel_norm_args {
    enum kernel_norm kind;
    enum kernel_type type;
    int64_t rows, width;
    float epsilon;
    const void *weight, *bias; /* [width] of `type`; bias: LayerNorm only, may be NULL */
};

/* logits [rows, stride] of `type`, of which the first `classes` columns count. */
struct kernel_loss {
    enum kernel_type type;
    int64_t rows, classes, stride;
    const int32_t *targets;     /* [rows]; < 0: the row does not count */
    const float *class_weights; /* [classes] or NULL: factors of loss and gradient */
    float scale;                /* of the gradient: 1 / (rows of the global batch) */
    bool gradient;              /* logits become dlogits * scale, the columns beyond classes 0 */
};

/* g = grad * scale; weight = weight * (1 - rate * decay) - rate * step, where step is
 * SGD: m = beta1 * m + g, or g without m;
 * AdamW: m' / (sqrt(v') + epsilon) of m = beta1 * m + (1 - beta1) * g, v = beta2 * v +
 *   (1 - beta2) * g * g, m' = m / (1 - beta1^step), v' = v / (1 - beta2^step);
 * Lion: the sign (0 of 0) of beta1 * m + (1 - beta1) * g, then m = beta2 * m + (1 - beta2) * g. */
struct kernel_update {
    enum kernel_optimizer kind;
    int64_t count;
    float *weight;       /* [count] master */
    void *copy;          /* [count] the same as bf16 for products; NULL: none */
    const float *grad;   /* [count] */
    float *m, *v;        /* [count] state; SGD: m is the momentum (NULL without), v NULL;
                            Lion: v NULL */
    const float *scale;  /* one float on the device by which grad is multiplied (clipping);
                            NULL: 1 */
    float rate, beta1, beta2, epsilon, decay; /* decay: decoupled, 0 for what is not decayed */
    int64_t step;        /* from 1: for the bias correction of AdamW */
};

/* --- inference: a step over a mix of sequences --- */

#define KERNEL_BLOCK 16 /* tokens of a block of a KV cache */

/* The sequences of a step, their new tokens packed one after another: those of sequence s are
 * rows first[s] to first[s + 1] - 1, and the last ones of its context. Arrays are the device's,
 * so that a recorded step works with what they then hold; count, tokens, most and longest are
 * the host's, and bounds of what the arrays say. A sequence of context 0 is padding: its rows
 * of the attention become 0. Rows from first[count] on have no attention (out is not written
 * there); positions and slots are valid for all tokens. */
struct kernel_sequences {
    int count, tokens;        /* sequences; rows of all of them */
    const int32_t *first;     /* [count + 1] */
    const int32_t *context;   /* [count] tokens of each, those of this step included */
    const int32_t *positions; /* [tokens] of each token in its sequence */
    const int32_t *slots;     /* [tokens] where its key and value go: block * KERNEL_BLOCK + place;
                                 < 0: nowhere */
    const int32_t *blocks;    /* [count, stride] numbers of blocks, in the order of the context */
    int stride;
    int most, longest;        /* new tokens of a sequence, tokens of a context: at most these */
    int prompts; /* sequences with more than one new token: at most these; 0: not known */
    bool fresh; /* keys and values of tokens before a sequence's new ones may be of this step */
};

/* Causal attention over a paged cache, and what goes before it. The caches of one layer are
 * [blocks, kv_heads, KERNEL_BLOCK, size] of type each. */
struct kernel_paged {
    enum kernel_type type;
    int heads, kv_heads, size; /* CUDA: size 64 or 128; heads a multiple of kv_heads */
    float scale;
    void *keys, *values;
    const struct kernel_sequences *sequences;
};

/* Weights [n, k] of 4 bits in AWQ's way: w = (q - zero) * scale per group of k. How they are packed
 * is the device's own business. */
struct kernel_q4 {
    int64_t n, k; /* n a multiple of 64, k of group */
    int group;    /* 128; 32 and 64 work, too */
};

/* AWQ's arrays of rows first .. first + n - 1, in host memory: weights int32 [k, n / 8], zeros int32
 * [k / group, n / 8], scales [k / group, n], nibbles in AWQ's order: row 8c + j is in the bits
 * from 4 * {0, 4, 1, 5, 2, 6, 3, 7}[j] on of word c. */
struct kernel_q4_source {
    int64_t first, n; /* multiples of 8 */
    const void *weights, *zeros, *scales;
    bool bf16; /* scales are bf16, else IEEE half */
};

/* y [m, n] = x [m, k] W^T of a layer. */
struct kernel_linear {
    int64_t n, k;
    const void *w; /* [n, k] of the decoder's type, or packed */
    int group;     /* of q4; 0: plain */
};
struct kernel_decoder_layer {
    const void *norm1, *norm2;   /* [hidden] */
    const void *q_norm, *k_norm; /* [size], or NULL */
    struct kernel_linear qkv, o, gate_up, down;
    void *keys, *values; /* caches, see kernel_paged */
};
/* All layers of a model: Qwen3's. */
struct kernel_decoder {
    enum kernel_type type;
    int layers, heads, kv_heads, size;
    int64_t hidden, inner;
    float epsilon, scale;       /* scale: of attention's scores */
    const float *cosine, *sine; /* [positions, size / 2] */
    const void *table;          /* [.., hidden]: see decoder_run; or NULL */
    const struct kernel_decoder_layer *layer; /* host [layers] */
};
struct kernel_decoder_state;

/* Row by row; all arrays but the logits and the mask are [rows], on the device. What is drawn: p =
 * softmax(logits / temperature); of the tokens that mask allows stay the top_k largest, of these those
 * with p >= min_p * largest p, of these the smallest set of largest ones whose p (scaled to sum 1)
 * reach top_p; equal logits in the order of their ids. At least one stays. Of those left the one with
 * the largest p / -log(u) (the first of equals), u = (word + 1/2) / 2^32 of Philox4x32-10 keyed by seed,
 * counter = (id / 4, step), word id % 4. That is log(p) - log(-log(u)) in double, log(p) being (logit -
 * largest logit) / temperature; for top_p each p / largest p is cut to a whole number of 2^-44, so that
 * their sum does not depend on the order. A logit of -infinity is as one that is not allowed, NaN and
 * +infinity are errors of the row, also where the mask does not allow them. */
struct kernel_sample {
    int rows;
    int64_t vocab, stride;
    const float *logits;      /* [rows, stride] */
    const float *temperature; /* 0: the largest logit, the first of equals */
    const float *top_p;       /* 1 and above: all */
    const float *min_p;       /* 0: all */
    const int32_t *top_k;     /* 0: all */
    const uint64_t *seed, *step;
    const int32_t *mask_row;  /* row of mask; < 0: all tokens are allowed; NULL: of all rows */
    const uint32_t *mask;     /* [.., (vocab + 31) / 32] bit set: allowed */
    int32_t *ids;             /* the result; -1 when no token is allowed, or for logits with an error */
    bool greedy;              /* all temperatures are 0, as the caller knows: less is to be done */
};

/* One change of one logit: x > 0 ? x / repeat : x * repeat, rounded, then + add. */
struct kernel_edit {
    int32_t row, id;
    float repeat, add;
};

struct kernel_graph; /* a recorded step */

struct kernels {
    int version; /* KERNELS_VERSION */
    const char *name; /* "cpu", "cuda" */

    /* --- the device --- */
    /* NULL with a line for people in error. */
    struct kernel_context *(*open)(const struct kernel_options *o, char *error, size_t size);
    void (*close)(struct kernel_context *c);
    void (*info)(struct kernel_context *c, struct kernel_info *ret);
    /* Bytes of the device's memory that the library has for itself, at most, with a
     * decoder of d (NULL: without one; no pointer in its layers, of which the first
     * tells of all, is followed). NULL where it has none. */
    size_t (*own_bytes)(struct kernel_context *c, const struct kernel_decoder *d);
    /* NULL when there is not as much. Aligned to 256 bytes; content undefined. */
    void *(*alloc)(struct kernel_context *c, size_t bytes);
    void (*free)(struct kernel_context *c, void *p);
    /* Host memory that copies fast to and from the device. */
    void *(*alloc_host)(struct kernel_context *c, size_t bytes);
    void (*free_host)(struct kernel_context *c, void *p);
    /* In the order of the stream. Host memory of alloc_host is read or written when the
     * stream gets there: keep it until a sync, or a mark that was waited for. */
    void (*upload)(struct kernel_context *c, void *to, const void *from_host, size_t bytes);
    void (*download)(struct kernel_context *c, void *to_host, const void *from, size_t bytes);
    void (*copy)(struct kernel_context *c, void *to, const void *from, size_t bytes);
    void (*zero)(struct kernel_context *c, void *p, size_t bytes);
    /* Waits for all that was queued. -1 and a line that names the first kernel that failed. */
    int (*sync)(struct kernel_context *c, char *error, size_t size);
    /* Marks this place in the stream under slot (0 to 15), and waits on the host until the
     * stream has passed the last mark of slot (at once when there is none). */
    void (*mark)(struct kernel_context *c, int slot);
    void (*wait)(struct kernel_context *c, int slot);
    /* A copy to the host beside the stream, of what the stream has written so far; the
     * source must not change until side_wait. */
    void (*side_download)(struct kernel_context *c, void *to_host, const void *from, size_t bytes);
    void (*side_wait)(struct kernel_context *c);

    /* --- products --- */
    void (*matmul)(struct kernel_context *c, const struct kernel_matmul *m);
    /* into[n] (+)= sums of the rows of x [m,n]; into is float. */
    void (*sum_rows)(struct kernel_context *c, float *into, const void *x, int64_t m, int64_t n,
                     enum kernel_type type, bool accumulate);

    /* --- element by element; n elements of type --- */
    /* y may be x. ReLU: x when x > 0 or a NaN, slope 0 at 0. */
    void (*activate)(struct kernel_context *c, void *y, const void *x, int64_t n,
                     enum kernel_activation act, enum kernel_type type);
    /* dx = dy * act'(x); x: what activate got. dx may be dy. */
    void (*activate_back)(struct kernel_context *c, void *dx, const void *dy, const void *x,
                          int64_t n, enum kernel_activation act, enum kernel_type type);
    /* y[rows,n] = silu(gate) * up, where x is [rows, 2n]: gate in the first n, then up. */
    void (*swiglu)(struct kernel_context *c, void *y, const void *x, int64_t rows, int64_t n,
                   enum kernel_type type);
    void (*swiglu_back)(struct kernel_context *c, void *dx, const void *dy, const void *x,
                        int64_t rows, int64_t n, enum kernel_type type);
    /* y = x where a generator (Philox4x32-10 keyed by seed, counter = element / 4, offset: 64
     * bits each, lower words first) keeps the element, scaled by 1 / (1 - p); else 0. Word
     * element % 4 keeps it when (word >> 8) * 2^-24 >= p. 0 <= p < 1; y may be x. The same call
     * on dy is its backward. */
    void (*dropout)(struct kernel_context *c, void *y, const void *x, int64_t n, float p,
                    uint64_t seed, uint64_t offset, enum kernel_type type);
    /* y += a * x */
    void (*add)(struct kernel_context *c, void *y, const void *x, float a, int64_t n,
                enum kernel_type type);
    void (*scale)(struct kernel_context *c, float *x, float a, int64_t n);
    /* Between float and type. */
    void (*to_float)(struct kernel_context *c, float *y, const void *x, int64_t n,
                     enum kernel_type type);
    void (*from_float)(struct kernel_context *c, void *y, const float *x, int64_t n,
                       enum kernel_type type);

    /* --- layers --- */
    /* y = norm(x + add) with x + add kept in sum when add is not NULL (sum may be x; add NULL:
     * sum is not written). What is normalised is the sum as it is stored, rounded. stats [rows,
     * 2]: mean and 1/std (RMSNorm: 0 and 1/rms). y is a buffer of its own. */
    void (*norm)(struct kernel_context *c, const struct kernel_norm_args *a, void *y, void *sum,
                 float *stats, const void *x, const void *add);
    /* x: what was normalised, as stored. dx = back(dy) (+ dsum when not NULL); dx may be dsum or
     * dy.
     * dweight and dbias [width] are added to; NULL: not wanted. scratch: norm_scratch bytes. */
    void (*norm_back)(struct kernel_context *c, const struct kernel_norm_args *a, void *dx,
                      float *dweight, float *dbias, const void *dy, const void *x,
                      const float *stats, const void *dsum, void *scratch);
    size_t (*norm_scratch)(struct kernel_context *c, const struct kernel_norm_args *a);
    /* out[count, width] = table[ids] (+ positions[i % length] when positions is not NULL). Both
     * tables are of `type`. */
    void (*embed)(struct kernel_context *c, const struct kernel_rows *r, void *out,
                  const void *table, const void *positions, int64_t length);
    /* dtable[id] += the rows of d; dpositions (or NULL) likewise. Both float. */
    void (*embed_back)(struct kernel_context *c, const struct kernel_rows *r, float *dtable,
                       float *dpositions, const void *d, int64_t length);
    /* y and x are qkv; may be the same buffer only when there is no q_weight. stats
     * [batch * length, heads + kv_heads]: 1/rms of each head (without q_weight: not touched, may
     * be NULL). Values are copied through. y[j] = x[j] cos - x[j + size/2] sin and y[j + size/2]
     * = x[j + size/2] cos + x[j] sin, for j < size/2, of the heads after their norm (which is
     * not rounded in between). */
    void (*rope)(struct kernel_context *c, const struct kernel_rope *r, void *y, float *stats,
                 const void *x);
    /* dx from dy, both qkv (may be the same); x: before (without q_weight: may be NULL). dq_weight
     * and dk_weight [size], float, are added to; NULL: not wanted. scratch: rope_scratch bytes. */
    void (*rope_back)(struct kernel_context *c, const struct kernel_rope *r, void *dx,
                      float *dq_weight, float *dk_weight, const void *dy, const void *x,
                      const float *stats, void *scratch);
    size_t (*rope_scratch)(struct kernel_context *c, const struct kernel_rope *r);
    /* out [batch, length, heads * size]; lse [batch, heads, length]: log-sum-exp of the scaled
     * scores, for backward. */
    void (*attention)(struct kernel_context *c, const struct kernel_attention *a, void *out,
                      float *lse, const void *qkv);
    void (*attention_back)(struct kernel_context *c, const struct kernel_attention *a, void *dqkv,
                           const void *dout, const void *out, const float *lse, const void *qkv,
                           void *scratch);
    size_t (*attention_scratch)(struct kernel_context *c, const struct kernel_attention *a);

    /* --- losses: losses[rows] float, 0 where the row does not count --- */
    /* Softmax and cross-entropy in one; correct[rows] (or NULL): 1 where the largest logit (the
     * first of equals) is the target's, else 0. losses: class weight * -log p(target). Rows that
     * do not count: loss, correct and gradient 0. A NaN or +infinity among the logits of a row
     * that counts makes its loss and gradients NaN, correct 0. Without gradient the logits stay
     * as they are. */
    void (*cross_entropy)(struct kernel_context *c, const struct kernel_loss *l, float *losses,
                          float *correct, void *logits);
    /* losses = (y - target)^2 summed over width; y becomes 2 (y - target) * scale when
     * gradient. */
    void (*squared_error)(struct kernel_context *c, float *losses, void *y, const float *target,
                          int64_t rows, int64_t width, float scale, bool gradient,
                          enum kernel_type type);

    /* --- the optimizer --- */
    void (*update)(struct kernel_context *c, const struct kernel_update *u);
    /* *into (one float, device) (+)= the sum of squares of x; of a NaN or infinity it is one. */
    void (*sum_squares)(struct kernel_context *c, float *into, const float *x, int64_t n,
                        bool accumulate);
    /* *into = the sum of x. */
    void (*sum)(struct kernel_context *c, float *into, const float *x, int64_t n);
    /* *scale = most / max(sqrt(*squares), most): what clipping multiplies with; most 0: 1. A
     * NaN in squares stays one. */
    void (*clip)(struct kernel_context *c, float *scale, const float *squares, float most);

    /* --- inference --- */
    /* Queries of qkv [tokens, (heads + 2 kv_heads) * size], normed and turned as rope does it, go
     * to q [tokens, heads * size], keys and values to their slots of the caches. r: batch and length
     * are not looked at; cosine and sine are [positions, size / 2]. */
    void (*rope_paged)(struct kernel_context *c, const struct kernel_rope *r,
                       const struct kernel_paged *a, void *q, const void *qkv);
    /* out and q [tokens, heads * size]. scratch: paged_scratch bytes. */
    void (*paged_attention)(struct kernel_context *c, const struct kernel_paged *a, void *out,
                            const void *q, void *scratch);
    size_t (*paged_scratch)(struct kernel_context *c, const struct kernel_paged *a);
    /* Bytes of the packed weights; packing (waits); the product C[m,n] = A[m,k] W^T, A contiguous
     * of type, C of c_type. scratch: q4_scratch bytes for up to m rows. */
    size_t (*q4_bytes)(struct kernel_context *c, const struct kernel_q4 *w);
    int (*q4_pack)(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                   const struct kernel_q4_source *from, char *error, size_t size);
    /* No more is packed: what that needed of the device's memory is given back; waits.
     * NULL where it needs none. */
    void (*q4_packed)(struct kernel_context *c);
    void (*q4_matmul)(struct kernel_context *c, const struct kernel_q4 *w, const void *packed,
                      void *out, const void *x, int64_t m, enum kernel_type type,
                      enum kernel_type c_type, void *scratch);
    size_t (*q4_scratch)(struct kernel_context *c, const struct kernel_q4 *w, int64_t m);
    /* A step of one token for each of few sequences through all layers at once, where a device
     * gains by it (else all four are NULL): norm, qkv, rope_paged, paged_attention, o, norm,
     * gate|up, swiglu and down as above, rounded at the same places. decoder_open waits; NULL: not
     * for such a model. decoder_run: for as many sequences as fit; row i is sequence i's token,
     * and x begins as row ids[i] of the table; ids NULL: as it is there. What comes out is x +
     * delta, as before the norm that follows the layers. */
    struct kernel_decoder_state *(*decoder_open)(struct kernel_context *c,
                                                 const struct kernel_decoder *d);
    bool (*decoder_fits)(const struct kernel_decoder_state *d, int sequences);
    void (*decoder_run)(struct kernel_context *c, const struct kernel_decoder_state *d,
                        const int32_t *ids, void *x, void *delta,
                        const struct kernel_sequences *s);
    void (*decoder_close)(struct kernel_context *c, struct kernel_decoder_state *d);
    /* Edits on the device; no two of them are of the same logit. */
    void (*edit)(struct kernel_context *c, float *logits, int64_t stride,
                 const struct kernel_edit *edits, int64_t count);
    /* scratch: sample_scratch bytes. */
    void (*sample)(struct kernel_context *c, const struct kernel_sample *s, void *scratch);
    size_t (*sample_scratch)(struct kernel_context *c, int rows, int64_t vocab);
    /* The calls between record and record_end are kept, not done; replay does them all, with the
     * same pointers and numbers and with what memory then holds. No call that waits may be among
     * them. record is NULL where a device gains nothing by it; record_end gives NULL when it could
     * not be done (then do the calls themselves). */
    void (*record)(struct kernel_context *c);
    struct kernel_graph *(*record_end)(struct kernel_context *c);
    void (*replay)(struct kernel_context *c, struct kernel_graph *g);
    void (*graph_free)(struct kernel_context *c, struct kernel_graph *g);

    /* --- groups of devices (CUDA: NCCL; NULL on the CPU: comm_mpi.c does it) --- */
    /* id: 128 bytes made by one member and told to all. */
    int (*comm_id)(unsigned char id[128], char *error, size_t size);
    struct kernel_comm *(*comm_open)(struct kernel_context *c, const unsigned char id[128],
                                     int rank, int size, char *error, size_t error_size);
    void (*comm_close)(struct kernel_comm *m);
    /* Each works beside the stream, on what the stream has written so far, in the order of the
     * calls; comm_wait makes the stream wait for all of them. In place where to == from (gather:
     * from is to + rank * count; scatter: to is from + rank * count). Sums of floats. */
    void (*comm_sum)(struct kernel_comm *m, float *to, const float *from, int64_t count);
    void (*comm_scatter)(struct kernel_comm *m, float *to, const float *from, int64_t count);
    void (*comm_gather)(struct kernel_comm *m, void *to, const void *from, int64_t bytes);
    void (*comm_broadcast)(struct kernel_comm *m, void *buffer, int64_t bytes, int root);
    void (*comm_wait)(struct kernel_comm *m);
    /* -1 and a line when a member is gone. */
    int (*comm_check)(struct kernel_comm *m, char *error, size_t size);
};

/* The CPU's, with the best variant this processor has (RAYWF_CPU=plain|avx2|avx512|avx512bf16
 * picks a lower one). */
const struct kernels *kernels_cpu(void);
/* The plain C one: what every other is held against. */
const struct kernels *kernels_reference(void);
/* What raywf-cuda.so exports under the name "raywf_kernels". */
typedef const struct kernels *(*kernels_module_fn)(void);

#ifdef __cplusplus
}
#endif
#endif
