/* SPDX-License-Identifier: Apache-2.0
 *
 * The three messages, by their field numbers:
 *   Event    1 wall_time double, 2 step int64, 3 file_version string, 5 summary
 * Summary, 7 session_log SessionLog Summary  1 value: repeated Value; Value: 1 tag
 * string, 2 simple_value float SessionLog 1 status enum (START 1) The file is always
 * whole records: what a full disk took in part is cut off again.
 */
#include "config.h"
#include "train/tensorboard.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct tensorboard {
    char *path;
    int fd;
    off_t size;            /* of whole records in the file */
    struct rwf_str buffer; /* records to be written */
};

/* --- CRC-32C (Castagnoli): reflected, polynomial 0x1edc6f41 --- */

static uint32_t crc_plain(uint32_t crc, const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0x82f63b78 & (0u - (crc & 1)));
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_fast(uint32_t crc,
                                                           const uint8_t *at, size_t n)
{
    uint64_t wide = crc, eight;
    for (; n >= sizeof(eight); n -= sizeof(eight), at += sizeof(eight)) {
        memcpy(&eight, at, sizeof(eight));
        wide = _mm_crc32_u64(wide, eight);
    }
    crc = (uint32_t)wide;
    for (; n > 0; n--)
        crc = _mm_crc32_u8(crc, *at++);
    return crc;
}
#endif

/* Masked: the format does not want a CRC over bytes that hold one. */
static uint32_t masked_crc(const void *bytes, size_t n)
{
    uint32_t crc = ~0u;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        crc = crc_fast(crc, bytes, n);
    else
#endif
        crc = crc_plain(crc, bytes, n);
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

/* --- protobuf --- */

static void add_little(struct rwf_str *s, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        rwf_str_addc(s, (char)(value >> (8 * i) & 255));
}

static void add_varint(struct rwf_str *s, uint64_t value)
{
    for (; value > 127; value >>= 7)
        rwf_str_addc(s, (char)((value & 127) | 128));
    rwf_str_addc(s, (char)value);
}

static void add_key(struct rwf_str *s, int field, enum wire wire)
{
    add_varint(s, (uint64_t)field << 3 | wire);
}

static void add_double(struct rwf_str *s, int field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    add_key(s, field, FIXED64);
    add_little(s, bits, 8);
}

static void add_float(struct rwf_str *s, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    add_key(s, field, FIXED32);
    add_little(s, bits, 4);
}

static void add_int(struct rwf_str *s, int field, int64_t value)
{
    add_key(s, field, VARINT);
    add_varint(s, (uint64_t)value);
}

static void add_bytes(struct rwf_str *s, int field, const char *bytes, size_t len)
{
    add_key(s, field, BYTES);
    add_varint(s, len);
    rwf_str_addn(s, bytes, len);
}

/* --- events --- */

static void add_record(struct tensorboard *t, const struct rwf_str *event)
{
    size_t at = t->buffer.len;
    add_little(&t->buffer, event->len, 8);
    add_little(&t->buffer, masked_crc(t->buffer.data + at, 8), 4);
    rwf_str_addn(&t->buffer, event->data, event->len);
    add_little(&t->buffer, masked_crc(event->data, event->len), 4);
}

static void begin_event(struct rwf_str *event)
{
    add_double(event, 1, (double)rwf_clock_wall() / (double)RWF_NS_PER_S);
}

static void end_event(struct tensorboard *t, struct rwf_str *event)
{
    add_record(t, event);
    rwf_str_free(event);
}

void tensorboard_scalar(struct tensorboard *t, const char *tag, int64_t step,
                        double value)
{
    struct rwf_str event = { 0 }, summary = { 0 }, v = { 0 };
    add_bytes(&v, 1, tag, strlen(tag));
    add_float(&v, 2, (float)value);
    add_bytes(&summary, 1, v.data, v.len);
    begin_event(&event);
    add_int(&event, 2, step);
    add_bytes(&event, 5, summary.data, summary.len);
    end_event(t, &event);
    rwf_str_free(&v);
    rwf_str_free(&summary);
}

/* Twice: TensorBoard takes the first that it sees in a folder for the very start. */
void tensorboard_restart(struct tensorboard *t, int64_t step)
{
    static const char start[] = { 1 << 3 | VARINT, 1 };
    for (int i = 0; i < 2; i++) {
        struct rwf_str event = { 0 };
        begin_event(&event);
        add_int(&event, 2, step);
        add_bytes(&event, 7, start, sizeof(start));
        end_event(t, &event);
    }
}

/* --- the file --- */

static int create(struct tensorboard *t, const char *folder, struct rwf_err *err)
{
    long long now = (long long)(rwf_clock_wall() / RWF_NS_PER_S);
    for (int i = 0; i < 1000; i++) {
        char more[16] = "";
        if (i > 0)
            snprintf(more, sizeof(more), ".%d", i);
        free(t->path);
        t->path = rwf_xasprintf("%s/events.out.tfevents.%010lld.raywf.%d%s", folder,
                                now, (int)getpid(), more);
        t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (t->fd >= 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return rwf_fail(err, errno, "cannot create '%s': %s", t->path, strerror(errno));
}

struct tensorboard *tensorboard_open(const char *folder, struct rwf_err *err)
{
    static const char version[] = "brain.Event:2";
    if (rwf_fs_mkdirs(folder, err) < 0)
        return NULL;
    struct tensorboard *t = rwf_xcalloc(1, sizeof(*t));
    if (create(t, folder, err) < 0) {
        free(t->path);
        free(t);
        return NULL;
    }
    struct rwf_str event = { 0 };
    begin_event(&event);
    add_bytes(&event, 3, version, strlen(version));
    end_event(t, &event);
    return t;
}

int tensorboard_flush(struct tensorboard *t, struct rwf_err *err)
{
    size_t done = 0;
    while (done < t->buffer.len) {
        ssize_t n = pwrite(t->fd, t->buffer.data + done, t->buffer.len - done,
                           t->size + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = errno;
            if (ftruncate(t->fd, t->size) < 0) { /* the next flush overwrites it */
            }
            return rwf_fail(err, code, "cannot write '%s': %s", t->path,
                            strerror(code));
        }
        done += (size_t)n;
    }
    t->size += (off_t)done;
    rwf_str_clear(&t->buffer);
    return 0;
}

void tensorboard_close(struct tensorboard *t)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (!t)
        return;
    if (tensorboard_flush(t, &err) < 0)
        rwf_log(RWF_LOG_WARN, "train", "%s", err.text);
    close(t->fd);
    rwf_str_free(&t->buffer);
    free(t->path);
    free(t);
}
