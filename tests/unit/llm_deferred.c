/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm_deferred.h"

/* Arguments of any call that is used; structs are copied, as a launch does it. */
struct call {
    void (*run)(const struct call *c);
    struct kernel_context *c;
    void *to, *scratch;
    const void *from, *more;
    int64_t n, m;
    enum kernel_type type, type2;
    int slot;
    union {
        struct kernel_matmul matmul;
        struct kernel_norm_args norm;
        struct kernel_rows rows;
        struct kernel_rope rope;
        struct kernel_sample sample;
        struct kernel_q4 q4;
    } a;
    struct kernel_paged paged;
    struct kernel_sequences sequences;
};

struct list {
    struct call *calls;
    size_t count, cap;
};

struct kernel_graph {
    struct list list;
};

static const struct kernels *cpu;
static struct kernels table;
static struct list queue;
static struct kernel_graph *recording;
static int recorded, replayed;

static struct call *push(struct kernel_context *c, void (*run)(const struct call *c))
{
    struct list *l = recording != NULL ? &recording->list : &queue;
    struct call *call = RWF_PUSH(l->calls, l->count, l->cap);
    memset(call, 0, sizeof(*call));
    call->c = c;
    call->run = run;
    return call;
}

static void drop(size_t count)
{
    memmove(queue.calls, queue.calls + count,
            (queue.count - count) * sizeof(*queue.calls));
    queue.count -= count;
}

static void drain(size_t count)
{
    for (size_t i = 0; i < count; i++)
        queue.calls[i].run(&queue.calls[i]);
    drop(count);
}

static void run_nothing(const struct call *c)
{
    (void)c;
}

static void mark(struct kernel_context *c, int slot)
{
    ck_assert_ptr_null(recording);
    push(c, run_nothing)->slot = 1 + slot;
}

static void wait_for(struct kernel_context *c, int slot)
{
    size_t last = 0;
    (void)c;
    ck_assert_ptr_null(recording);
    for (size_t i = 0; i < queue.count; i++)
        if (queue.calls[i].slot == 1 + slot)
            last = i + 1;
    drain(last);
}

static int sync_all(struct kernel_context *c, char *error, size_t size)
{
    ck_assert_ptr_null(recording);
    drain(queue.count);
    return cpu->sync(c, error, size);
}

/* --- copies --- */

static void run_copy(const struct call *c)
{
    memcpy(c->to, c->from, (size_t)c->n);
}

static void queue_copy(struct kernel_context *c, void *to, const void *from,
                       size_t bytes)
{
    struct call *call = push(c, run_copy);
    call->to = to;
    call->from = from;
    call->n = (int64_t)bytes;
}

static void run_zero(const struct call *c)
{
    memset(c->to, 0, (size_t)c->n);
}

static void zero(struct kernel_context *c, void *p, size_t bytes)
{
    struct call *call = push(c, run_zero);
    call->to = p;
    call->n = (int64_t)bytes;
}

/* --- kernels --- */

static void run_matmul(const struct call *c)
{
    cpu->matmul(c->c, &c->a.matmul);
}

static void matmul(struct kernel_context *c, const struct kernel_matmul *m)
{
    push(c, run_matmul)->a.matmul = *m;
}

static void run_norm(const struct call *c)
{
    cpu->norm(c->c, &c->a.norm, c->to, (void *)(uintptr_t)c->more, c->scratch, c->from,
              c->m != 0 ? (const void *)(uintptr_t)c->m : NULL);
}

static void norm(struct kernel_context *c, const struct kernel_norm_args *a, void *y,
                 void *sum, float *stats, const void *x, const void *add)
{
    struct call *call = push(c, run_norm);
    call->a.norm = *a;
    call->to = y;
    call->more = sum;
    call->scratch = stats;
    call->from = x;
    call->m = (int64_t)(uintptr_t)add;
}

static void run_embed(const struct call *c)
{
    cpu->embed(c->c, &c->a.rows, c->to, c->from, NULL, 0);
}

static void embed(struct kernel_context *c, const struct kernel_rows *r, void *out,
                  const void *from, const void *positions, int64_t length)
{
    struct call *call = push(c, run_embed);
    (void)length;
    ck_assert_ptr_null(positions);
    call->a.rows = *r;
    call->to = out;
    call->from = from;
}

static void run_swiglu(const struct call *c)
{
    cpu->swiglu(c->c, c->to, c->from, c->m, c->n, c->type);
}

static void swiglu(struct kernel_context *c, void *y, const void *x, int64_t rows,
                   int64_t n, enum kernel_type type)
{
    struct call *call = push(c, run_swiglu);
    call->to = y;
    call->from = x;
    call->m = rows;
    call->n = n;
    call->type = type;
}

static void take_paged(struct call *call, const struct kernel_paged *a)
{
    call->paged = *a;
    call->sequences = *a->sequences;
}

static struct kernel_paged paged_of(const struct call *c)
{
    struct kernel_paged a = c->paged;
    a.sequences = &c->sequences;
    return a;
}

static void run_rope(const struct call *c)
{
    const struct kernel_paged a = paged_of(c);
    cpu->rope_paged(c->c, &c->a.rope, &a, c->to, c->from);
}

static void rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                       const struct kernel_paged *a, void *q, const void *qkv)
{
    struct call *call = push(c, run_rope);
    call->a.rope = *r;
    take_paged(call, a);
    call->to = q;
    call->from = qkv;
}

static void run_attention(const struct call *c)
{
    const struct kernel_paged a = paged_of(c);
    cpu->paged_attention(c->c, &a, c->to, c->from, c->scratch);
}

static void paged_attention(struct kernel_context *c, const struct kernel_paged *a,
                            void *out, const void *q, void *scratch)
{
    struct call *call = push(c, run_attention);
    take_paged(call, a);
    call->to = out;
    call->from = q;
    call->scratch = scratch;
}

static void run_q4(const struct call *c)
{
    cpu->q4_matmul(c->c, &c->a.q4, c->more, c->to, c->from, c->m, c->type, c->type2,
                   c->scratch);
}

static void q4_matmul(struct kernel_context *c, const struct kernel_q4 *w,
                      const void *packed, void *out, const void *x, int64_t m,
                      enum kernel_type type, enum kernel_type c_type, void *scratch)
{
    struct call *call = push(c, run_q4);
    call->a.q4 = *w;
    call->more = packed;
    call->to = out;
    call->from = x;
    call->m = m;
    call->type = type;
    call->type2 = c_type;
    call->scratch = scratch;
}

static int q4_pack(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                   const struct kernel_q4_source *from, char *error, size_t size)
{
    drain(queue.count);
    return cpu->q4_pack(c, w, packed, from, error, size);
}

static void run_edit(const struct call *c)
{
    cpu->edit(c->c, c->to, c->m, c->from, c->n);
}

static void edit(struct kernel_context *c, float *logits, int64_t stride,
                 const struct kernel_edit *edits, int64_t count)
{
    struct call *call = push(c, run_edit);
    ck_assert_ptr_null(recording); /* how many there are changes */
    call->to = logits;
    call->m = stride;
    call->from = edits;
    call->n = count;
}

static void run_sample(const struct call *c)
{
    cpu->sample(c->c, &c->a.sample, c->scratch);
}

static void sample(struct kernel_context *c, const struct kernel_sample *s,
                   void *scratch)
{
    struct call *call = push(c, run_sample);
    call->a.sample = *s;
    call->scratch = scratch;
}

/* --- recording --- */

static void record(struct kernel_context *c)
{
    (void)c;
    ck_assert_ptr_null(recording);
    recording = rwf_xcalloc(1, sizeof(*recording));
}

static struct kernel_graph *record_end(struct kernel_context *c)
{
    struct kernel_graph *g = recording;
    (void)c;
    recording = NULL;
    recorded++;
    return g;
}

static void replay(struct kernel_context *c, struct kernel_graph *g)
{
    for (size_t i = 0; i < g->list.count; i++)
        *push(c, NULL) = g->list.calls[i];
    replayed++;
}

static void graph_free(struct kernel_context *c, struct kernel_graph *g)
{
    (void)c;
    free(g->list.calls);
    free(g);
}

/* Never called: that it is there says that memory is not the host's. */
static struct kernel_comm *comm_open(struct kernel_context *c,
                                     const unsigned char id[128], int rank, int size,
                                     char *error, size_t error_size)
{
    (void)c, (void)id, (void)rank, (void)size, (void)error, (void)error_size;
    return NULL;
}

static void close_all(struct kernel_context *c)
{
    drain(queue.count);
    free(queue.calls);
    queue = (struct list){0};
    cpu->close(c);
}

void llm_deferred(struct device *d)
{
    cpu = d->k;
    table = *cpu;
    table.name = "deferred";
    table.close = close_all;
    table.upload = table.download = table.copy = queue_copy;
    table.zero = zero;
    table.sync = sync_all;
    table.mark = mark;
    table.wait = wait_for;
    table.matmul = matmul;
    table.norm = norm;
    table.embed = embed;
    table.swiglu = swiglu;
    table.rope_paged = rope_paged;
    table.paged_attention = paged_attention;
    table.q4_matmul = q4_matmul;
    table.q4_pack = q4_pack;
    table.edit = edit;
    table.sample = sample;
    table.record = record;
    table.record_end = record_end;
    table.replay = replay;
    table.graph_free = graph_free;
    table.comm_open = comm_open;
    d->k = &table;
}

int llm_deferred_recorded(void)
{
    return recorded;
}

int llm_deferred_replayed(void)
{
    return replayed;
}
