/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads tensors in pieces: threads copy them out of the mapped files (converting on the
 * way) into buffers that the device reads fast, and the caller's thread, the only one
 * to talk to the device, uploads each and gives its buffer back once the copy has
 * passed. On the CPU the threads write to where the weights shall be. So reading,
 * converting and uploading go on at once, and what the slowest of them can do is the
 * speed.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "llm/weights.h"

#define PIECE ((int64_t)16 << 20) /* bytes of a plain tensor at a time */
#define BUFFERS_MAX 16            /* marks of a stream */
#define RING ((int64_t)512 << 20)
#define THREADS_MAX 16

struct piece {
    const struct llm_part *part;
    int64_t first, count; /* plain: elements */
};

enum state { BUFFER_FREE, BUFFER_FILLING, BUFFER_READY, BUFFER_UPLOADING };

struct buffer {
    void *memory;
    struct piece piece;
    enum state state;
    const void *weights, *zeros, *scales; /* AWQ: in memory, or in the file */
};

struct loader {
    const struct llm_parts *parts;
    const struct llm_model_options *o;
    bool host;
    pthread_mutex_t lock;
    pthread_cond_t filled, freed;
    size_t next; /* part, and elements of it that are given out */
    int64_t offset;
    int filling;
    bool stop;
    struct buffer buffers[BUFFERS_MAX];
    int count, order[BUFFERS_MAX],
        uploading; /* order: buffers on their way, oldest first */
    int64_t done;
};

static int64_t elements(const struct llm_part *p)
{
    return p->shape[0] * p->shape[1];
}

/* --- what the threads do --- */

/* Pages come in together instead of one fault at a time. Only advice. */
static void prefault(const void *at, size_t bytes)
{
#ifdef MADV_POPULATE_READ
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)at / page * page;
    (void)madvise((void *)from, (uintptr_t)at + bytes - from, MADV_POPULATE_READ);
#else
    (void)at, (void)bytes;
#endif
}

static void fill_plain(const struct loader *l, struct buffer *b)
{
    const struct llm_part *p = b->piece.part;
    size_t size = kernel_size(l->o->type);
    void *to = b->memory;
    if (l->host)
        to = (char *)*p->to + (size_t)(p->at + b->piece.first) * size;
    if (p->plain == NULL) {
        llm__invent(llm__part_seed(l->parts, p, b->piece.first),
                    p->dims == 1 ? 0 : LLM_INVENTED_DEVIATION, b->piece.count,
                    l->o->type, to);
        return;
    }
    size_t each = p->plain->bytes / (size_t)elements(p);
    prefault((const char *)p->plain->data + (size_t)b->piece.first * each,
             (size_t)b->piece.count * each);
    llm__convert(p->plain, b->piece.first, b->piece.count, l->o->type, to);
}

static const void *place(const struct loader *l, const struct safetensors_entry *e,
                         char **at)
{
    const void *here = *at;
    if (l->host && (uintptr_t)e->data % sizeof(int32_t) == 0)
        return e->data;
    prefault(e->data, e->bytes);
    memcpy(*at, e->data, e->bytes);
    *at += (e->bytes + 255) / 256 * 256;
    return here;
}

static void invent_q4(const struct loader *l, struct buffer *b,
                      const struct llm_part *p)
{
    int64_t n = p->shape[0], k = p->shape[1], groups = k / p->q4->q4.group;
    char *at = b->memory;
    b->weights = at;
    llm__invent_words(llm__part_seed(l->parts, p, 0), k * n / 8,
                      (uint32_t *)(void *)at);
    at += (k * n / 2 + 255) / 256 * 256;
    b->zeros = at;
    memset(at, LLM_INVENTED_ZERO, (size_t)(groups * n / 2));
    at += (groups * n / 2 + 255) / 256 * 256;
    b->scales = at;
    for (int64_t i = 0; i < groups * n; i++)
        ((uint16_t *)(void *)at)[i] = LLM_INVENTED_SCALE;
}

static void fill_q4(const struct loader *l, struct buffer *b)
{
    const struct llm_part *p = b->piece.part;
    char *at = b->memory;
    if (p->weights == NULL) {
        invent_q4(l, b, p);
        return;
    }
    b->weights = place(l, p->weights, &at);
    b->zeros = place(l, p->zeros, &at);
    b->scales = place(l, p->scales, &at);
}

/* With the lock held; false: all are given out. */
static bool take_piece(struct loader *l, struct piece *ret)
{
    if (l->stop || l->next == l->parts->count)
        return false;
    const struct llm_part *p = &l->parts->items[l->next];
    int64_t left = elements(p) - l->offset;
    int64_t most = p->q4 != NULL ? left : PIECE / (int64_t)kernel_size(l->o->type);
    *ret = (struct piece){p, l->offset, left < most ? left : most};
    l->offset += ret->count;
    if (l->offset == elements(p)) {
        l->next++;
        l->offset = 0;
    }
    return true;
}

static struct buffer *find(struct loader *l, enum state state)
{
    for (int i = 0; i < l->count; i++)
        if (l->buffers[i].state == state)
            return &l->buffers[i];
    return NULL;
}

/* A free buffer and a piece for it; NULL: nothing is left. */
static struct buffer *begin(struct loader *l)
{
    struct buffer *b = NULL;
    pthread_mutex_lock(&l->lock);
    while (!l->stop && l->next < l->parts->count && (b = find(l, BUFFER_FREE)) == NULL)
        pthread_cond_wait(&l->freed, &l->lock);
    if (b != NULL && take_piece(l, &b->piece)) {
        b->state = BUFFER_FILLING;
        l->filling++;
    } else {
        b = NULL;
        pthread_cond_broadcast(&l->freed);
        pthread_cond_signal(&l->filled);
    }
    pthread_mutex_unlock(&l->lock);
    return b;
}

static void *fill(void *arg)
{
    struct loader *l = arg;
    struct buffer *b;
    while ((b = begin(l)) != NULL) {
        if (b->piece.part->q4 != NULL)
            fill_q4(l, b);
        else
            fill_plain(l, b);
        pthread_mutex_lock(&l->lock);
        b->state = BUFFER_READY;
        l->filling--;
        pthread_cond_signal(&l->filled);
        pthread_mutex_unlock(&l->lock);
    }
    return NULL;
}

/* --- what the caller's thread does --- */

static void set_state(struct loader *l, struct buffer *b, enum state state)
{
    pthread_mutex_lock(&l->lock);
    b->state = state;
    if (state == BUFFER_FREE)
        pthread_cond_signal(&l->freed);
    pthread_mutex_unlock(&l->lock);
}

static void wait_oldest(struct loader *l)
{
    int slot = l->order[0];
    struct device *d = l->o->device;
    d->k->wait(d->c, slot);
    memmove(l->order, l->order + 1, (size_t)--l->uploading * sizeof(l->order[0]));
    set_state(l, &l->buffers[slot], BUFFER_FREE);
}

static void upload_plain(struct loader *l, struct buffer *b)
{
    const struct llm_part *p = b->piece.part;
    struct device *d = l->o->device;
    size_t size = kernel_size(l->o->type);
    int slot = (int)(b - l->buffers);
    if (l->host) {
        set_state(l, b, BUFFER_FREE);
        return;
    }
    d->k->upload(d->c, (char *)*p->to + (size_t)(p->at + b->piece.first) * size,
                 b->memory, (size_t)b->piece.count * size);
    d->k->mark(d->c, slot);
    set_state(l, b, BUFFER_UPLOADING);
    l->order[l->uploading++] = slot;
}

static int upload_q4(struct loader *l, struct buffer *b, struct rwf_err *err)
{
    const struct llm_part *p = b->piece.part;
    struct device *d = l->o->device;
    char why[256] = "";
    const struct kernel_q4_source from = {
        p->first,   p->shape[0],
        b->weights, b->zeros,
        b->scales,  p->scales != NULL && p->scales->type == SAFETENSORS_BF16};
    int rc = d->k->q4_pack(d->c, &p->q4->q4, *p->to, &from, why, sizeof(why));
    set_state(l, b, BUFFER_FREE);
    return rc == 0 ? 0 : rwf_fail(err, RWF_E_FAILED, "packing '%s': %s", p->name, why);
}

/* The next that is filled; NULL: all are. Buffers that the device has read go back
 * meanwhile. */
static struct buffer *next_ready(struct loader *l)
{
    struct buffer *b;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        while ((b = find(l, BUFFER_READY)) == NULL && l->uploading == 0 &&
               (l->filling > 0 || l->next < l->parts->count))
            pthread_cond_wait(&l->filled, &l->lock);
        bool done = b == NULL && l->uploading == 0;
        pthread_mutex_unlock(&l->lock);
        if (b != NULL || done)
            return b;
        wait_oldest(l);
    }
}

static void tell(struct loader *l, const struct buffer *b)
{
    const struct llm_part *p = b->piece.part;
    l->done += p->q4 != NULL ? p->shape[0] * p->shape[1] / 2
                             : b->piece.count * (int64_t)kernel_size(l->o->type);
    double share = (double)l->done / (double)l->parts->bytes;
    if (l->o->progress != NULL)
        l->o->progress(l->o->ctx, share < 1 ? share : 1);
}

static int drain(struct loader *l, struct rwf_err *err)
{
    struct buffer *b;
    int rc = 0;
    while ((b = next_ready(l)) != NULL && rc == 0) {
        struct buffer seen = *b; /* it goes back before it is told of */
        if (b->piece.part->q4 != NULL)
            rc = upload_q4(l, b, err);
        else
            upload_plain(l, b);
        tell(l, &seen);
    }
    return rc;
}

/* --- all of it --- */

static int64_t largest(const struct loader *l)
{
    int64_t most = l->host ? 0 : PIECE;
    for (size_t i = 0; i < l->parts->count; i++) {
        const struct llm_part *p = &l->parts->items[i];
        if (p->q4 == NULL)
            continue;
        int64_t n = p->shape[0], k = p->shape[1], groups = k / p->q4->q4.group;
        int64_t bytes = k * n / 2 + groups * n / 2 + groups * n * 2 + 3 * 256;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static int make_buffers(struct loader *l, struct rwf_err *err)
{
    struct device *d = l->o->device;
    int64_t size = largest(l);
    int64_t count = size > 0 ? RING / size : BUFFERS_MAX;
    l->count = (int)(count < 3 ? 3 : count > BUFFERS_MAX ? BUFFERS_MAX : count);
    for (int i = 0; i < l->count && size > 0; i++) {
        l->buffers[i].memory = d->k->alloc_host(d->c, (size_t)size);
        if (l->buffers[i].memory == NULL)
            return rwf_fail(err, RWF_E_FIT,
                            "no host memory for %lld bytes to load weights with",
                            (long long)size);
    }
    return 0;
}

static int thread_count(const struct loader *l)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int most = l->count > 1 ? l->count - 1 : 1;
    most = most < THREADS_MAX ? most : THREADS_MAX;
    return cores < 1 ? 1 : cores < most ? (int)cores : most;
}

static int run(struct loader *l, struct rwf_err *err)
{
    pthread_t threads[THREADS_MAX];
    int wanted = thread_count(l), started = 0, rc = 0;
    while (started < wanted && pthread_create(&threads[started], NULL, fill, l) == 0)
        started++;
    if (started == 0)
        rc =
            rwf_fail(err, RWF_E_ENV, "no thread could be started to load weights with");
    else
        rc = drain(l, err);
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->freed);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (device_sync(l->o->device, rc == 0 ? err : NULL) != 0)
        rc = -1;
    if (l->o->device->k->q4_packed != NULL)
        l->o->device->k->q4_packed(l->o->device->c);
    if (rc == 0 && l->o->progress != NULL)
        l->o->progress(l->o->ctx, 1);
    return rc;
}

int llm__parts_load(const struct llm_parts *p, const struct llm_model_options *o,
                    struct rwf_err *err)
{
    struct loader *l = rwf_xcalloc(1, sizeof(*l));
    struct device *d = o->device;
    l->parts = p;
    l->o = o;
    l->host = device_is_host(d);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->freed, NULL);
    int rc = make_buffers(l, err);
    if (rc == 0)
        rc = run(l, err);
    for (int i = 0; i < l->count; i++)
        if (l->buffers[i].memory != NULL)
            d->k->free_host(d->c, l->buffers[i].memory);
    pthread_cond_destroy(&l->freed);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    free(l);
    return rc;
}
