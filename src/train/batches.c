/* SPDX-License-Identifier: Apache-2.0
 *
 * Global batch g of an epoch is the positions [g * global, (g + 1) * global) of the
 * epoch's permutation. It is cut into as few micro steps as `micro` allows for, as even
 * as can be, and each of these into `size` contiguous parts, one for each rank: so
 * neither which rows a global batch has nor their order depends on the ranks.
 *
 * A ring of RING micro batches: the caller may hold the last two that it got, and the
 * thread fills the others. One lock; a slot's content changes hands only under it.
 */
#include "config.h"
#include "train/batches.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "train/batches_order.h"

#define RING 8 /* two that the caller may hold, six ahead */
#define LOW 2  /* ahead, when the thread is woken: a wake-up costs more than a small batch. Ranks
                * that wait for each other have their threads keep in step: no more ahead than that */
#define INFO_MAX (64 << 20)
#define ALIGN 256

struct mapped {
    const char *data;
    size_t size;
};

/* What is the same for all batches of an epoch. */
struct epoch {
    int64_t number; /* -1: none yet */
    int64_t offset; /* tokens: where its first sequence begins */
    struct batches_permutation order;
};

struct batches {
    struct batches_options o;
    json_t *info;
    char *split;
    bool tokens, classes;
    int64_t rows;      /* of the split; tokens: sequences */
    int64_t all;       /* tokens of the split */
    int64_t per_epoch; /* global batches */
    int capacity;      /* rows of a micro batch */
    int features, outputs, width;
    struct mapped x, y, ids;
    bool cold; /* too large to expect it in the page cache */
    struct batches_micro ring[RING];
    void *memory[RING];
    int32_t *scratch;   /* of the sort */
    struct epoch epoch; /* the thread's */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t step;           /* what the thread fills next: global batch … */
    int micro;              /* … and the micro batch of it */
    uint64_t taken, filled; /* micro batches, since the beginning */
    bool wanted, filling, ended, stop;
    double waited;
};

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* --- the order: pure --- */

static int64_t first_of(const struct batches *b, int64_t step)
{
    return step % b->per_epoch * b->o.global;
}

static int64_t rows_of(const struct batches *b, int64_t step)
{
    int64_t left = b->rows - first_of(b, step);
    return left < b->o.global ? left : b->o.global;
}

static int micros_of(const struct batches *b, int64_t step)
{
    return (int)ceil_div(rows_of(b, step), (int64_t)b->o.micro * b->o.size);
}

/* The positions [*from, *to) of this rank in micro batch m of a step. */
static void part_of(const struct batches *b, int64_t step, int m, int64_t *from,
                    int64_t *to)
{
    int64_t rows = rows_of(b, step), micros = micros_of(b, step);
    int64_t begin = rows * m / micros, count = rows * (m + 1) / micros - begin;
    *from = first_of(b, step) + begin + count * b->o.rank / b->o.size;
    *to = first_of(b, step) + begin + count * (b->o.rank + 1) / b->o.size;
}

/* Of the tokens that the epoch's batches leave over, some are passed over at the start,
 * so that sequences are cut at other places in other epochs. */
static void begin_epoch(struct batches *b, int64_t number)
{
    struct epoch *e = &b->epoch;
    int64_t rows = b->rows;
    if (e->number == number)
        return;
    e->number = number;
    e->offset = 0;
    if (!b->o.shuffle)
        return;
    if (b->tokens) {
        int64_t spare = b->all - 1 - b->per_epoch * b->o.global * b->o.length;
        int64_t most = spare < b->o.length - 1 ? spare : b->o.length - 1;
        e->offset = batches_draw(b->o.seed, (uint64_t)number, most + 1);
        rows = (b->all - 1 - e->offset) / b->o.length;
    }
    batches_permute_init(&e->order, rows, b->o.seed, (uint64_t)number);
}

static int64_t row_at(const struct batches *b, int64_t position)
{
    return b->o.shuffle ? batches_permute(&b->epoch.order, position) : position;
}

/* --- filling: the thread --- */

/* Asks for the pages of data[at, at + bytes) without waiting for them. */
static void want_pages(const struct mapped *m, int64_t at, size_t bytes)
{
    size_t page = 4096, begin = (size_t)at / page * page;
    madvise((void *)(uintptr_t)(m->data + begin), (size_t)at + bytes - begin,
            MADV_WILLNEED);
}

static void want_rows(const struct batches *b, int64_t from, int64_t to)
{
    size_t bytes = b->tokens ? (size_t)(b->o.length + 1) * (size_t)b->width
                             : (size_t)b->features * sizeof(float);
    for (int64_t p = from; p < to; p++) {
        int64_t row = row_at(b, p);
        if (b->tokens)
            want_pages(&b->ids, (b->epoch.offset + row * b->o.length) * b->width,
                       bytes);
        else
            want_pages(&b->x, row * (int64_t)bytes, bytes);
    }
}

static void fill_row(const struct batches *b, struct batches_micro *m, int i,
                     int64_t row)
{
    size_t n = (size_t)b->features;
    const float *x = (const float *)(const void *)b->x.data;
    const char *y = b->y.data;
    memcpy(m->features + (size_t)i * n, x + (size_t)row * n, n * sizeof(float));
    if (b->classes) {
        memcpy(&m->targets[i], y + (size_t)row * sizeof(int32_t), sizeof(int32_t));
        return;
    }
    n = (size_t)b->outputs;
    memcpy(m->values + (size_t)i * n, y + (size_t)row * n * sizeof(float),
           n * sizeof(float));
}

static void fill_sequence(const struct batches *b, struct batches_micro *m, int i,
                          int64_t row)
{
    int64_t length = b->o.length, at = b->epoch.offset + row * length;
    int32_t *ids = m->ids + i * length, *targets = m->targets + i * length;
    if (b->width == 4) {
        const int32_t *from = (const int32_t *)(const void *)b->ids.data + at;
        memcpy(ids, from, (size_t)length * sizeof(*ids));
        memcpy(targets, from + 1, (size_t)length * sizeof(*ids));
        return;
    }
    const uint16_t *from = (const uint16_t *)(const void *)b->ids.data + at;
    for (int64_t j = 0; j < length; j++)
        ids[j] = from[j];
    for (int64_t j = 0; j < length; j++)
        targets[j] = from[j + 1];
}

static void fill(struct batches *b, struct batches_micro *m, int64_t step, int micro)
{
    int64_t from, to;
    begin_epoch(b, step / b->per_epoch);
    part_of(b, step, micro, &from, &to);
    if (b->cold)
        want_rows(b, from, to);
    m->rows = (int)(to - from);
    m->last = micro + 1 == micros_of(b, step);
    m->global = rows_of(b, step);
    for (int64_t p = from; p < to; p++)
        (b->tokens ? fill_sequence : fill_row)(b, m, (int)(p - from), row_at(b, p));
    if (m->order != NULL)
        batches_sort(m->ids, m->order, b->scratch, (int64_t)m->rows * b->o.length);
}

/* The place after (step, micro); under the lock. */
static void advance(struct batches *b)
{
    if (++b->micro < micros_of(b, b->step))
        return;
    b->micro = 0;
    b->step++;
    b->ended = !b->o.shuffle && b->step >= b->per_epoch;
}

static bool may_fill(const struct batches *b)
{
    uint64_t ahead = b->o.size > 1 ? LOW : RING - 2;
    return b->wanted && !b->ended && b->filled < b->taken + ahead;
}

static void *thread_main(void *arg)
{
    struct batches *b = arg;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->stop && !may_fill(b))
            pthread_cond_wait(&b->changed, &b->lock);
        if (b->stop)
            break;
        struct batches_micro *m = &b->ring[b->filled % RING];
        int64_t step = b->step;
        int micro = b->micro;
        b->filling = true;
        pthread_mutex_unlock(&b->lock);
        fill(b, m, step, micro);
        pthread_mutex_lock(&b->lock);
        b->filling = false;
        b->filled++;
        advance(b);
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* --- the caller's side --- */

void batches_seek(struct batches *b, int64_t step)
{
    rwf_assert(step >= 0);
    pthread_mutex_lock(&b->lock);
    b->wanted = false; /* nothing new is begun */
    while (b->filling)
        pthread_cond_wait(&b->changed, &b->lock);
    b->filled = b->taken;
    b->step = step;
    b->micro = 0;
    b->ended = !b->o.shuffle && step >= b->per_epoch;
    b->wanted = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

const struct batches_micro *batches_next(struct batches *b)
{
    const struct batches_micro *m = NULL;
    pthread_mutex_lock(&b->lock);
    if (!b->wanted) {
        b->wanted = true;
        pthread_cond_broadcast(&b->changed);
    }
    if (b->filled == b->taken && !b->ended) {
        int64_t since = rwf_clock_mono();
        while (b->filled == b->taken && !b->ended)
            pthread_cond_wait(&b->changed, &b->lock);
        b->waited += (double)(rwf_clock_mono() - since) / 1e9;
    }
    if (b->filled > b->taken) {
        m = &b->ring[b->taken++ % RING];
        if (b->filled - b->taken <= LOW)
            pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return m;
}

double batches_waited(const struct batches *b)
{
    return b->waited; /* batches_next alone writes it, in the caller's thread */
}

const json_t *batches_info(const struct batches *b)
{
    return b->info;
}

int64_t batches_per_epoch(const struct batches *b)
{
    return b->per_epoch;
}

/* --- opening --- */

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static int read_info(struct batches *b, struct rwf_err *err)
{
    char *path = rwf_fs_join(b->o.folder, "data.json");
    size_t len;
    json_error_t why;
    int r = -1;
    char *text = rwf_fs_read(path, INFO_MAX, &len, err);
    if (text == NULL)
        goto out;
    b->info = json_loadb(text, len, 0, &why);
    if (b->info == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, why.line, why.text);
    else if (number_of(b->info, "v") != 1)
        rwf_fail(err, RWF_E_INPUT, "%s: v is not 1: prepared by another version", path);
    else
        r = 0;
out:
    free(text);
    free(path);
    return r;
}

static const json_t *split_info(const struct batches *b, struct rwf_err *err)
{
    const json_t *splits = json_object_get(b->info, "splits");
    const json_t *split = json_object_get(splits, b->split);
    if (split == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s/data.json has no split %s", b->o.folder,
                 b->split);
    return split;
}

static int map_file(const struct batches *b, const char *part, int64_t want,
                    struct mapped *ret, struct rwf_err *err)
{
    char *path = rwf_xasprintf("%s/%s.%s", b->o.folder, b->split, part);
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = -1;
    struct stat st = { 0 };
    void *map;
    if (fd < 0 || fstat(fd, &st) < 0) {
        rwf_fail(err, RWF_E_INPUT, "%s: %s", path, strerror(errno));
    } else if (st.st_size != want) {
        rwf_fail(
            err, RWF_E_INPUT,
            "%s has %lld bytes, but data.json says %lld: the data changed after it "
            "was prepared; remove the folder and run again",
            path, (long long)st.st_size, (long long)want);
    } else if ((map = mmap(NULL, (size_t)want, PROT_READ, MAP_SHARED, fd, 0)) ==
               MAP_FAILED) {
        rwf_fail(err, errno, "%s: cannot map it: %s", path, strerror(errno));
    } else {
        *ret = (struct mapped){ .data = map, .size = (size_t)want };
        madvise(map, (size_t)want, b->o.shuffle ? MADV_RANDOM : MADV_SEQUENTIAL);
        r = 0;
    }
    if (fd >= 0)
        close(fd);
    free(path);
    return r;
}

static int open_rows(struct batches *b, const json_t *split, struct rwf_err *err)
{
    const json_t *task = json_object_get(b->info, "task");
    b->rows = number_of(split, "rows");
    b->features = (int)number_of(b->info, "features");
    b->outputs = (int)number_of(b->info, "outputs");
    b->classes =
        json_is_string(task) && strcmp(json_string_value(task), "classification") == 0;
    if (b->rows <= 0 || b->rows > INT64_MAX / 8 / (b->features + 1) ||
        b->features <= 0 || b->outputs <= 0)
        return rwf_fail(err, RWF_E_INPUT, "%s: split %s has no rows", b->o.folder,
                        b->split);
    int width = b->classes ? 1 : b->outputs;
    if (map_file(b, "x", b->rows * b->features * 4, &b->x, err) < 0 ||
        map_file(b, "y", b->rows * width * 4, &b->y, err) < 0)
        return -1;
    b->per_epoch = ceil_div(b->rows, b->o.global);
    return 0;
}

static int open_tokens(struct batches *b, const json_t *split, struct rwf_err *err)
{
    int64_t length = b->o.length;
    b->all = number_of(split, "tokens");
    b->width = (int)number_of(b->info, "width");
    rwf_assert(length > 0);
    if ((b->width != 2 && b->width != 4) || b->all < 0 || b->all > INT64_MAX / 8)
        return rwf_fail(err, RWF_E_INPUT,
                        "%s/data.json: width or tokens of split %s "
                        "are wrong",
                        b->o.folder, b->split);
    b->rows = b->all > 0 ? (b->all - 1) / length : 0;
    if (b->rows < (b->o.shuffle ? b->o.global : 1))
        return rwf_fail(
            err, RWF_E_INPUT,
            "split %s has %lld tokens, which is %lld sequences of %d: fewer "
            "than %s needs; lower sequence_length%s, or give it more text",
            b->split, (long long)b->all, (long long)b->rows, b->o.length,
            b->o.shuffle ? "one global batch" : "an evaluation",
            b->o.shuffle ? " or global_batch_size" : "");
    if (map_file(b, "ids", b->all * b->width, &b->ids, err) < 0)
        return -1;
    b->per_epoch =
        b->o.shuffle ? b->rows / b->o.global : ceil_div(b->rows, b->o.global);
    return 0;
}

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The most rows that any micro batch of any rank has. */
static int capacity_of(const struct batches *b)
{
    int64_t share = ceil_div(b->o.global, b->o.size);
    return (int)(share < b->o.micro ? share : b->o.micro);
}

static int allocate(struct batches *b, struct rwf_err *err)
{
    size_t n = (size_t)b->capacity, positions = n * (size_t)b->o.length;
    size_t x = aligned(n * (size_t)b->features * 4), y = aligned(positions * 4);
    size_t bytes = b->tokens ? 3 * y : x + aligned(n * (size_t)b->outputs * 4);
    struct device *d = b->o.device;
    if (b->tokens)
        b->scratch = rwf_alloc(positions * sizeof(*b->scratch), err);
    if (b->tokens && b->scratch == NULL)
        return -1;
    for (int i = 0; i < RING; i++) {
        char *p = b->memory[i] = d->k->alloc_host(d->c, bytes);
        struct batches_micro *m = &b->ring[i];
        if (p == NULL)
            return rwf_fail(
                err, RWF_E_FIT,
                "no host memory for batches: %d buffers of %zu bytes; lower "
                "micro_batch_size",
                RING, bytes);
        if (b->tokens) {
            m->ids = (int32_t *)(void *)p;
            m->targets = (int32_t *)(void *)(p + y);
            m->order = b->o.order ? (int32_t *)(void *)(p + 2 * y) : NULL;
        } else {
            m->features = (float *)(void *)p;
            m->targets = b->classes ? (int32_t *)(void *)(p + x) : NULL;
            m->values = b->classes ? NULL : (float *)(void *)(p + x);
        }
    }
    return 0;
}

/* Signals are the business of the threads that were there before. */
static int start_thread(struct batches *b, struct rwf_err *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&b->thread, NULL, thread_main, b);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e != 0)
        return rwf_fail(err, e, "a thread for batches: %s", strerror(e));
    b->started = true;
    return 0;
}

static bool is_cold(const struct batches *b)
{
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return (double)(b->x.size + b->y.size + b->ids.size) > memory / 2;
}

static int open_all(struct batches *b, struct rwf_err *err)
{
    if (read_info(b, err) < 0)
        return -1;
    const json_t *split = split_info(b, err);
    const char *kind = json_string_value(json_object_get(b->info, "kind"));
    if (split == NULL)
        return -1;
    b->tokens = kind != NULL && strcmp(kind, "tokens") == 0;
    if ((b->tokens ? open_tokens : open_rows)(b, split, err) < 0)
        return -1;
    b->capacity = capacity_of(b);
    b->cold = b->o.shuffle && is_cold(b);
    if (allocate(b, err) < 0)
        return -1;
    return start_thread(b, err);
}

struct batches *batches_open(const struct batches_options *o, struct rwf_err *err)
{
    struct batches *b = rwf_xcalloc(1, sizeof(*b));
    rwf_assert(o->global > 0 && o->micro > 0 && o->size > 0);
    rwf_assert(o->rank >= 0 && o->rank < o->size);
    b->o = *o;
    b->o.folder = rwf_xstrdup(o->folder);
    b->o.split = b->split = rwf_xstrdup(o->split);
    b->epoch.number = -1;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    if (open_all(b, err) == 0)
        return b;
    batches_close(b);
    return NULL;
}

static void unmap(struct mapped *m)
{
    if (m->data != NULL)
        munmap((void *)(uintptr_t)m->data, m->size);
}

void batches_close(struct batches *b)
{
    if (b == NULL)
        return;
    if (b->started) {
        pthread_mutex_lock(&b->lock);
        b->stop = true;
        pthread_cond_broadcast(&b->changed);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
    }
    for (int i = 0; i < RING; i++)
        if (b->memory[i] != NULL)
            b->o.device->k->free_host(b->o.device->c, b->memory[i]);
    unmap(&b->x);
    unmap(&b->y);
    unmap(&b->ids);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    json_decref(b->info);
    free(b->scratch);
    free(b->split);
    free((char *)(uintptr_t)b->o.folder);
    free(b);
}
