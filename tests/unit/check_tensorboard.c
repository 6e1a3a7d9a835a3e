/* SPDX-License-Identifier: Apache-2.0
 *
 * TensorBoard event files, read back: framing, both CRCs (by a bitwise one), the
 * fields.
 */
#include "config.h"
#include <check.h>
#include <errno.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "train/tensorboard.h"

static char dir[] = "/tmp/check_tensorboard.XXXXXX";

static void enter(void)
{
    strcpy(strrchr(dir, '.') + 1, "XXXXXX");
    ck_assert(mkdtemp(dir) && chdir(dir) == 0);
}

static void leave(void)
{
    ck_assert(chdir("/") == 0 && rwf_fs_rmtree(dir, NULL) == 0);
}

/* --- reading --- */

struct reader {
    const uint8_t *at, *end;
};

struct event {
    double time;
    int64_t step;
    char version[32], tag[64];
    float value;
    bool has_value;
    int status;
};

static uint64_t take_little(struct reader *r, int bytes)
{
    uint64_t value = 0;
    ck_assert_int_ge(r->end - r->at, bytes);
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | r->at[i];
    r->at += bytes;
    return value;
}

static uint64_t take_varint(struct reader *r)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        ck_assert(r->at < r->end && shift < 64);
        value |= (uint64_t)(*r->at & 127) << shift;
        if (*r->at++ < 128)
            return value;
    }
}

static struct reader take_bytes(struct reader *r)
{
    size_t len = (size_t)take_varint(r);
    ck_assert_uint_le(len, (size_t)(r->end - r->at));
    r->at += len;
    return (struct reader){ r->at - len, r->at };
}

static void take_text(struct reader *r, char *to, size_t size)
{
    struct reader text = take_bytes(r);
    size_t len = (size_t)(text.end - text.at);
    ck_assert_uint_lt(len, size);
    memcpy(to, text.at, len);
    to[len] = '\0';
}

/* Of the field's description, bit by bit: x^32 + ... Castagnoli. */
static uint32_t masked(const uint8_t *bytes, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < 8 * n; i++) {
        uint32_t bit = (bytes[i / 8] >> i % 8 & 1) ^ (crc & 1);
        crc = crc >> 1 ^ (bit ? 0x82f63b78 : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static void take_summary(struct reader r, struct event *e)
{
    ck_assert_uint_eq(take_varint(&r), 1 << 3 | 2);
    struct reader v = take_bytes(&r);
    ck_assert(r.at == r.end);
    ck_assert_uint_eq(take_varint(&v), 1 << 3 | 2);
    take_text(&v, e->tag, sizeof(e->tag));
    ck_assert_uint_eq(take_varint(&v), 2 << 3 | 5);
    uint32_t bits = (uint32_t)take_little(&v, 4);
    memcpy(&e->value, &bits, 4);
    e->has_value = true;
    ck_assert(v.at == v.end);
}

static struct event take_event(struct reader r)
{
    struct event e = { 0 };
    while (r.at < r.end) {
        uint64_t key = take_varint(&r), bits;
        struct reader log;
        switch (key) {
        case 1 << 3 | 1:
            bits = take_little(&r, 8);
            memcpy(&e.time, &bits, 8);
            break;
        case 2 << 3 | 0:
            e.step = (int64_t)take_varint(&r);
            break;
        case 3 << 3 | 2:
            take_text(&r, e.version, sizeof(e.version));
            break;
        case 5 << 3 | 2:
            take_summary(take_bytes(&r), &e);
            break;
        case 7 << 3 | 2:
            log = take_bytes(&r);
            ck_assert_uint_eq(take_varint(&log), 1 << 3 | 0);
            e.status = (int)take_varint(&log);
            break;
        default:
            ck_abort_msg("field %d", (int)key);
        }
    }
    return e;
}

static struct event take_record(struct reader *r)
{
    const uint8_t *start = r->at;
    size_t len = (size_t)take_little(r, 8);
    ck_assert_uint_eq(take_little(r, 4), masked(start, 8));
    ck_assert_uint_le(len, (size_t)(r->end - r->at));
    struct reader data = { r->at, r->at + len };
    r->at += len;
    ck_assert_uint_eq(take_little(r, 4), masked(data.at, len));
    struct event e = take_event(data);
    double now = (double)rwf_clock_wall() / 1e9;
    ck_assert(e.time > now - 60 && e.time <= now);
    return e;
}

static char *read_file(const char *pattern, struct reader *r)
{
    glob_t g;
    size_t len;
    ck_assert(glob(pattern, 0, NULL, &g) == 0 && g.gl_pathc == 1);
    char *bytes = rwf_fs_read(g.gl_pathv[0], 1 << 20, &len, NULL);
    ck_assert_ptr_nonnull(bytes);
    *r = (struct reader){ (const uint8_t *)bytes, (const uint8_t *)bytes + len };
    globfree(&g);
    return bytes;
}

static void expect_scalar(struct reader *r, const char *tag, int64_t step, double value)
{
    struct event e = take_record(r);
    ck_assert(e.has_value && e.step == step);
    ck_assert_str_eq(e.tag, tag);
    ck_assert(e.value == (float)value || (isnan(e.value) && isnan(value)));
}

/* --- tests --- */

static const struct {
    const char *tag;
    int64_t step;
    double value;
} scalars[] = {
    { "loss", 0, 2.5 },
    { "loss", 1, 0.1 },
    { "val_loss", 127, -1e30 },
    { "loss", 128, 1e-40 },
    { "größe", 16384, NAN },
    { "rate", INT64_MAX, INFINITY },
    { "", 300, 0 },
    { "a/b c", 1 << 30, 1e300 },
};

START_TEST(scalars_read_back)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct reader r;
    struct tensorboard *t = tensorboard_open("deep/er", &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    for (size_t i = 0; i < RWF_COUNT(scalars); i++) {
        tensorboard_scalar(t, scalars[i].tag, scalars[i].step, scalars[i].value);
        if (i == 3) {
            tensorboard_restart(t, 77);
            ck_assert_msg(tensorboard_flush(t, &err) == 0, "%s", err.text);
        }
    }
    tensorboard_close(t); /* writes what is left */
    tensorboard_close(NULL);
    char *bytes = read_file("deep/er/events.out.tfevents.[0-9]*.raywf.[0-9]*", &r);
    struct event e = take_record(&r);
    ck_assert_str_eq(e.version, "brain.Event:2");
    ck_assert(!e.has_value);
    for (size_t i = 0; i < RWF_COUNT(scalars); i++) {
        expect_scalar(&r, scalars[i].tag, scalars[i].step, scalars[i].value);
        for (int n = 0; i == 3 && n < 2; n++) {
            e = take_record(&r);
            ck_assert(e.status == 1 && e.step == 77 && !e.has_value);
        }
    }
    ck_assert(r.at == r.end);
    free(bytes);
}
END_TEST

START_TEST(two_of_a_second)
{
    struct tensorboard *a = tensorboard_open(".", NULL),
                       *b = tensorboard_open(".", NULL);
    glob_t g;
    ck_assert(a && b);
    ck_assert_int_eq(glob("events.out.tfevents.*", 0, NULL, &g), 0);
    ck_assert_uint_eq(g.gl_pathc, 2);
    globfree(&g);
    tensorboard_close(a);
    tensorboard_close(b);
}
END_TEST

/* What does not fit is not written in part; it comes with the next flush. */
START_TEST(full_disk_loses_nothing)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rlimit limit = { 100, RLIM_INFINITY },
                  none = { RLIM_INFINITY, RLIM_INFINITY };
    struct reader r;
    struct tensorboard *t = tensorboard_open("t", NULL);
    ck_assert(t && tensorboard_flush(t, NULL) == 0);
    for (int i = 0; i < 5; i++)
        tensorboard_scalar(t, "loss", i, i);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(tensorboard_flush(t, &err), -1);
    ck_assert_msg(strstr(err.text, "cannot write 't/events.out.tfevents.") &&
                      err.code == EFBIG,
                  "%s", err.text);
    char *bytes = read_file("t/*", &r);
    take_record(&r);
    ck_assert(r.at == r.end);
    free(bytes);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    ck_assert_int_eq(tensorboard_flush(t, &err), 0);
    tensorboard_close(t);
    bytes = read_file("t/*", &r);
    take_record(&r);
    for (int i = 0; i < 5; i++)
        expect_scalar(&r, "loss", i, i);
    ck_assert(r.at == r.end);
    free(bytes);
}
END_TEST

START_TEST(no_folder_is_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(rwf_fs_write("file", "", 0, false, NULL), 0);
    ck_assert_ptr_null(tensorboard_open("file", &err));
    ck_assert_msg(strstr(err.text, "cannot create 'file/events"), "%s", err.text);
    ck_assert_ptr_null(tensorboard_open("file/x", &err));
    ck_assert_msg(strstr(err.text, "cannot create folder 'file/x'"), "%s", err.text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tensorboard");
    TCase *t = tcase_create("tensorboard");
    tcase_add_checked_fixture(t, enter, leave);
    tcase_add_test(t, scalars_read_back);
    tcase_add_test(t, two_of_a_second);
    tcase_add_test(t, full_disk_loses_nothing);
    tcase_add_test(t, no_folder_is_told);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
