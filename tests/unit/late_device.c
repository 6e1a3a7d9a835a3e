/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "late_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SLOTS = 16 };

struct transfer {
    void *to;         /* host; NULL: an upload */
    const void *from; /* what must not change until then: host, or the side's source */
    void *copy;
    size_t bytes;
};

struct queue {
    struct transfer *transfers;
    size_t count, cap, done;
};

static const struct kernels *cpu;
static struct kernels late;
static struct queue stream, side;
static size_t marked[SLOTS];
static int faults;

static void push(struct queue *q, void *to, const void *from, const void *now, size_t bytes)
{
    struct transfer *t = RWF_PUSH(q->transfers, q->count, q->cap);
    *t = (struct transfer){ .to = to, .from = from, .bytes = bytes };
    t->copy = rwf_xmalloc(bytes + 1);
    memcpy(t->copy, now, bytes);
}

static void complete(struct queue *q, size_t count)
{
    for (; q->done < count; q->done++) {
        struct transfer *t = &q->transfers[q->done];
        if (t->from != NULL && memcmp(t->from, t->copy, t->bytes) != 0) {
            fprintf(stderr, "late device: %zu bytes changed too early\n", t->bytes);
            faults++;
        }
        if (t->to != NULL)
            memcpy(t->to, t->copy, t->bytes);
        free(t->copy);
        t->copy = NULL;
    }
}

static void late_upload(struct kernel_context *c, void *to, const void *from, size_t bytes)
{
    cpu->upload(c, to, from, bytes);
    push(&stream, NULL, from, from, bytes);
}

static void late_download(struct kernel_context *c, void *to, const void *from, size_t bytes)
{
    (void)c;
    push(&stream, to, NULL, from, bytes);
    memset(to, 0xff, bytes);
}

static void late_side_download(struct kernel_context *c, void *to, const void *from,
                               size_t bytes)
{
    (void)c;
    push(&side, to, from, from, bytes);
    memset(to, 0xff, bytes);
}

static void late_side_wait(struct kernel_context *c)
{
    (void)c;
    complete(&side, side.count);
}

static void late_mark(struct kernel_context *c, int slot)
{
    (void)c;
    marked[slot] = stream.count;
}

static void late_wait(struct kernel_context *c, int slot)
{
    (void)c;
    complete(&stream, marked[slot]);
}

static int late_sync(struct kernel_context *c, char *error, size_t size)
{
    complete(&stream, stream.count);
    return cpu->sync(c, error, size);
}

static void late_close(struct kernel_context *c)
{
    complete(&stream, stream.count);
    free(stream.transfers);
    free(side.transfers);
    memset(&stream, 0, sizeof(stream));
    memset(&side, 0, sizeof(side));
    memset(marked, 0, sizeof(marked));
    cpu->close(c);
}

/* Never called: that it is there says whose memory it is. */
static struct kernel_comm *late_comm_open(struct kernel_context *c, const unsigned char id[128],
                                          int rank, int size, char *error, size_t error_size)
{
    (void)c, (void)id, (void)rank, (void)size;
    snprintf(error, error_size, "no groups");
    return NULL;
}

void late_device_open(struct device *d)
{
    struct kernel_options o = { .threads = 1 };
    char why[256] = "";
    cpu = kernels_cpu();
    late = *cpu;
    late.upload = late_upload;
    late.download = late_download;
    late.side_download = late_side_download;
    late.side_wait = late_side_wait;
    late.mark = late_mark;
    late.wait = late_wait;
    late.sync = late_sync;
    late.close = late_close;
    late.comm_open = late_comm_open;
    *d = (struct device){ .k = &late, .c = cpu->open(&o, why, sizeof(why)) };
    rwf_assert(d->c != NULL);
    late.info(d->c, &d->info);
}

int late_device_faults(void)
{
    return faults;
}
