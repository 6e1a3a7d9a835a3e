/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors: a file of the format's own writer, what is refused and how it is said,
 * values as floats, folders and links, and what we write read back.
 */
#include "config.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "tensor/safetensors.h"
#include "tests/unit/safetensors_golden.h"

static char dir[] = "/tmp/check_safetensors.XXXXXX";

static void enter(void)
{
    strcpy(strrchr(dir, '.') + 1, "XXXXXX");
    ck_assert(mkdtemp(dir) && chdir(dir) == 0);
}

static void leave(void)
{
    ck_assert(chdir("/") == 0 && rwf_fs_rmtree(dir, NULL) == 0);
}

/* Exactly as large as it says, so that a sanitizer sees what is read beyond. */
static unsigned char *file_of(const char *header, size_t body, size_t *ret_size)
{
    size_t len = strlen(header), size = 8 + len + body;
    unsigned char *bytes = rwf_xcalloc(1, size);
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(len >> (8 * i));
    memcpy(bytes + 8, header, len);
    for (size_t i = 0; i < body; i++)
        bytes[8 + len + i] = (unsigned char)(i + 1);
    *ret_size = size;
    return bytes;
}

static void write_file(const char *path, const char *header, size_t body)
{
    size_t size;
    unsigned char *bytes = file_of(header, body, &size);
    ck_assert_int_eq(rwf_fs_write(path, bytes, size, false, NULL), 0);
    free(bytes);
}

static void write_text(const char *path, const char *text)
{
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
}

/* --- reading --- */

static void expect_floats(const struct safetensors *s, const char *name,
                          const float *values, int64_t count)
{
    struct rwf_err err = RWF_ERR_INIT;
    float got[16];
    const struct safetensors_entry *e = safetensors_find(s, name);
    ck_assert(e && safetensors_elements(e) == count);
    ck_assert_msg(safetensors_floats(e, 0, count, got, &err) == 0, "%s", err.text);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(memcmp(&got[i], &values[i], sizeof(float)) == 0 ||
                          (isnan(got[i]) && isnan(values[i])),
                      "%s[%d]: %.9g, not %.9g", name, (int)i, (double)got[i],
                      (double)values[i]);
}

START_TEST(golden_file_reads)
{
    static const float f16[] = { 0,          -0.0f, 0x1p-24f, -0x3ffp-24f, 0x1p-14f, 1,
                                 -3.390625f, 65504, INFINITY, -INFINITY,   NAN };
    struct rwf_err err = RWF_ERR_INIT;
    float one;
    struct safetensors *s = safetensors_parse(golden, sizeof(golden), "golden", &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_uint_eq(safetensors_count(s), 9);
    expect_floats(s, "f32", (const float[]){ 0, .25f, .5f, .75f, 1, 1.25f }, 6);
    expect_floats(s, "bf16", (const float[]){ 1, -2.5f, 3.140625f }, 3);
    expect_floats(s, "f16", f16, 11);
    expect_floats(s, "f64", (const float[]){ 0.1f }, 1);
    expect_floats(s, "empty", NULL, 0);
    const struct safetensors_entry *e = safetensors_find(s, "f32");
    ck_assert(e->dims == 2 && e->shape[0] == 2 && e->shape[1] == 3 && e->bytes == 24);
    ck_assert_int_eq(safetensors_find(s, "f64")->dims, 0);
    e = safetensors_find(s, "i64");
    ck_assert(e->type == SAFETENSORS_I64 && e->bytes == 16);
    ck_assert_int_eq(safetensors_floats(e, 0, 1, &one, &err), -1);
    e = safetensors_find(s, "f8");
    ck_assert(e->type == SAFETENSORS_F8_E4M3 && ((const uint8_t *)e->data)[0] == 0x38);
    ck_assert_int_eq(safetensors_floats(e, 0, 1, &one, &err), -1);
    ck_assert_str_eq(err.text,
                     "'golden': tensor 'f8' has the type F8_E4M3: only F64, F32, "
                     "F16 and BF16 can be read as numbers");
    ck_assert_int_eq(safetensors_floats(safetensors_find(s, "bf16"), 2, 2, &one, &err),
                     -1);
    ck_assert_ptr_nonnull(strstr(err.text, "has 3 values: there are no 2 from 2 on"));
    ck_assert_ptr_null(safetensors_find(s, "none"));
    safetensors_close(s);
}
END_TEST

/* Every half there is, at every place of a vector, by both ways of converting. */
START_TEST(all_halves_convert)
{
    enum { N = 65536 };
    char header[200];
    size_t size;
    snprintf(header, sizeof(header),
             "{\"h\":{\"dtype\":\"F16\",\"shape\":[%d],\"data_offsets\":[0,%d]},\"b\":{"
             "\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}",
             N, 2 * N, N, 2 * N, 4 * N);
    unsigned char *bytes = file_of(header, 4 * N, &size);
    for (int i = 0; i < 2 * N; i++) {
        unsigned char *at = bytes + size - 4 * N + 2 * i;
        at[0] = (unsigned char)(i & 255);
        at[1] = (unsigned char)(i >> 8 & 255);
    }
    struct safetensors *s = safetensors_parse(bytes, size, "halves", NULL);
    ck_assert_ptr_nonnull(s);
    const struct safetensors_entry *h = safetensors_find(s, "h"),
                                   *b = safetensors_find(s, "b");
    float *all = rwf_xmalloc(N * sizeof(float)), one;
    for (int first = 0; first < 9; first++) {
        ck_assert_int_eq(safetensors_floats(h, first, N - first, all, NULL), 0);
        for (int i = first; i < N; i += first ? 1009 : 1) {
            int e = i >> 10 & 31, f = i & 1023;
            double want = e == 31  ? (f ? NAN : INFINITY)
                          : e == 0 ? ldexp(f, -24)
                                   : ldexp(1024 + f, e - 25);
            want = i & 0x8000 ? -want : want;
            ck_assert(safetensors_floats(h, i, 1, &one, NULL) == 0);
            ck_assert((isnan(want) && isnan(one) && isnan(all[i - first])) ||
                      ((double)one == want && (double)all[i - first] == want &&
                       !signbit(one) == !signbit(want)));
        }
        ck_assert_int_eq(safetensors_floats(b, first, N - first, all, NULL), 0);
        for (int i = first; i < N; i++) {
            uint32_t bits = (uint32_t)i << 16;
            ck_assert(memcmp(&bits, &all[i - first], 4) == 0);
        }
    }
    free(all);
    safetensors_close(s);
    free(bytes);
}
END_TEST

#define T(name, dtype, shape, begin, end)                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape                           \
    ",\"data_offsets\":[" begin "," end "]}"

static const struct {
    const char *header;
    size_t body;
    const char *says; /* NULL: it is fine */
} headers[] = {
    { "{}", 0, NULL },
    { "{}   ", 0, NULL },
    { "{" T("b", "U8", "[2]", "1", "3") "," T("a", "U8", "[]", "0", "1") "}", 3, NULL },
    { "{" T("z", "F32", "[0,5]", "2", "2") "," T("a", "U8", "[2]", "0", "2") "}", 2,
      NULL },
    { "{\"__metadata__\":{\"a\":\"b\"}," T("a", "BOOL", "[1,1]", "0", "1") "}", 1,
      NULL },
    { "{" T("a", "F4", "[2]", "0", "1") "}", 1, NULL },
    { "[]", 0, "header does not start with '{'" },
    { " {}", 0, "header does not start with '{'" },
    { "", 0, "header does not start with '{'" },
    { "{\"a\":1", 0, "the header is no JSON" },
    { "{} x", 0, "the header is no JSON" },
    { "{" T("a", "U8", "[1]", "0", "1") "," T("a", "U8", "[1]", "0", "1") "}", 1,
      "duplicate object key" },
    { "{\"__metadata__\":3}", 0, "__metadata__ must be an object" },
    { "{\"__metadata__\":{\"a\":3}}", 0, "__metadata__: 'a' must be a text" },
    { "{\"a\":[]}", 0, "tensor 'a': must be an object" },
    { "{\"a\":{}}", 0, "tensor 'a': dtype must be a text" },
    { "{\"a\":{\"dtype\":\"U8\"}}", 0, "tensor 'a': shape must be a list" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 0, "data_offsets must be two" },
    { "{" T("a", "U8", "[1.0]", "0", "1") "}", 1, "whole numbers from 0 on" },
    { "{" T("a", "U8", "[-1]", "0", "1") "}", 1, "whole numbers from 0 on" },
    { "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", "0", "1") "}", 1,
      "more than 8 dimensions" },
    { "{" T("a", "F64", "[4294967296,4294967296]", "0", "1") "}", 1,
      "more values than" },
    { "{" T("a", "F32", "[4611686018427387905]", "0", "4") "}", 4, "more values than" },
    { "{" T("a", "U8", "[1]", "0", "99999999999999999999") "}", 1, "no JSON" },
    { "{" T("a", "U8", "[1]", "-1", "0") "}", 1, "data_offsets must grow" },
    { "{" T("a", "U8", "[1]", "1", "0") "}", 1, "data_offsets must grow" },
    { "{" T("a", "U8", "[9]", "0", "9") "}", 8,
      "ends at byte 9 of the data, of which there are 8: the file is cut short" },
    { "{" T("a", "F32", "[2]", "0", "4") "}", 4,
      "F32 of its shape is 8 bytes, its data_offsets span 4" },
    { "{" T("a", "U8", "[2]", "0", "2") "," T("b", "U8", "[2]", "1", "3") "}", 3,
      "'b': its bytes overlap" },
    { "{" T("a", "U8", "[2]", "0", "2") "," T("b", "U8", "[2]", "0", "2") "}", 2,
      "its bytes overlap" },
    { "{" T("a", "U8", "[1]", "0", "1") "," T("b", "U8", "[1]", "2", "3") "}", 3,
      "'b': bytes before it belong to no tensor" },
    { "{" T("a", "U8", "[1]", "0", "1") "}", 3, "2 bytes after the last tensor" },
    { "{}", 1, "1 bytes after the last tensor" },
};

START_TEST(headers_are_checked)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t size;
    unsigned char *bytes = file_of(headers[_i].header, headers[_i].body, &size);
    struct safetensors *s = safetensors_parse(bytes, size, "some/file", &err);
    if (!headers[_i].says)
        ck_assert_msg(s != NULL, "%s: %s", headers[_i].header, err.text);
    else {
        ck_assert_msg(!s && strstr(err.text, headers[_i].says), "%s: %s",
                      headers[_i].header, err.text);
        ck_assert_int_eq(err.code, RWF_E_INPUT);
        ck_assert_ptr_nonnull(strstr(err.text, "'some/file'"));
    }
    safetensors_close(s);
    free(bytes);
}
END_TEST

/* Cut anywhere, and with any length of header. */
START_TEST(cut_files_are_refused)
{
    for (size_t size = 0; size < sizeof(golden); size++) {
        unsigned char *bytes = rwf_xmalloc(size);
        memcpy(bytes, golden, size);
        ck_assert_ptr_null(safetensors_parse(bytes, size, "cut", NULL));
        free(bytes);
    }
    unsigned char copy[sizeof(golden)];
    memcpy(copy, golden, sizeof(golden));
    for (int bit = 0; bit < 64; bit++) {
        struct rwf_err err = RWF_ERR_INIT;
        copy[bit / 8] ^= (unsigned char)(1 << bit % 8);
        ck_assert_ptr_null(safetensors_parse(copy, sizeof(copy), "long", &err));
        ck_assert_ptr_nonnull(strstr(err.text, "'long'"));
        copy[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}
END_TEST

/* --- files and folders --- */

static void expect_open(const char *path, const char *says)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct safetensors *s = safetensors_open(path, &err);
    if (says) {
        ck_assert_msg(!s && strstr(err.text, says), "%s", err.text);
        ck_assert_int_eq(err.code, RWF_E_INPUT);
    } else
        ck_assert_msg(s != NULL, "%s", err.text);
    safetensors_close(s);
}

START_TEST(files_open)
{
    expect_open("none", "cannot open 'none': No such file");
    expect_open("/dev/null", "'/dev/null' is no file");
    write_text("empty", "");
    expect_open("empty", "'empty' is no safetensors file: it is empty");
    write_text("short", "1234567");
    expect_open("short", "it has 7 bytes");
    expect_open(".", "folder '.' has neither model.safetensors nor");
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    expect_open("fifo", "'fifo' is no file");
    ck_assert_int_eq(
        rwf_fs_write("model.safetensors", golden, sizeof(golden), false, NULL), 0);
    expect_open("model.safetensors", NULL);
    expect_open(".", NULL);
}
END_TEST

#define ONE "{" T("a", "U8", "[1]", "0", "1") "}"
#define TWO "{" T("b", "U8", "[2]", "0", "2") "," T("c", "U8", "[1]", "2", "3") "}"

static const struct {
    const char *index, *says;
} indexes[] = {
    { "{\"weight_map\":{\"a\":\"one\",\"b\":\"two\",\"c\":\"two\"}}", NULL },
    { "{\"weight_map\":{\"a\":\"sub/in\",\"b\":\"two\"}}", NULL },
    { "{\"weight_map\":{\"a\":\"sub/../one\"}}", "leads out of the folder" },
    { "{\"weight_map\":{\"a\":\"/tmp/one\"}}", "leads out of the folder" },
    { "{\"weight_map\":{\"a\":\"../one\"}}", "leads out of the folder" },
    { "{\"weight_map\":{\"a\":\"\"}}", "leads out of the folder" },
    { "{\"weight_map\":{\"a\":\"out\"}}",
      "names 'out', which leads out of the folder" },
    { "{\"weight_map\":{\"a\":\"outdir/one\"}}", "leads out of the folder" },
    { "{\"weight_map\":{\"a\":\"three\"}}", "three': No such file" },
    { "{\"weight_map\":{\"a\":\"sub\"}}", "is no file" },
    { "{\"weight_map\":{\"a\":\"two\"}}",
      "places tensor 'a' in 'two', which has none" },
    { "{\"weight_map\":{\"a\":\"one\",\"a\":\"two\"}}", "duplicate object key" },
    { "{\"weight_map\":{\"a\":3}}", "'a' must be the name of a file" },
    { "{\"weight_map\":{}}", "weight_map must name" },
    { "[1]", "weight_map must name" },
    { "{", "line 1" },
};

START_TEST(folders_open)
{
    ck_assert(mkdir("m", 0700) == 0 && mkdir("m/sub", 0700) == 0);
    write_file("m/one", ONE, 1);
    write_file("one", ONE, 1);
    write_file("m/two", TWO, 3);
    ck_assert(symlink("../../one", "m/sub/out") == 0 &&
              symlink("../one", "m/out") == 0 && symlink("..", "m/outdir") == 0 &&
              symlink("../one", "m/sub/in") == 0);
    write_text("m/model.safetensors.index.json", indexes[_i].index);
    expect_open("m", indexes[_i].says);
}
END_TEST

START_TEST(index_decides)
{
    ck_assert_int_eq(mkdir("m", 0700), 0);
    write_file("m/one", ONE, 1);
    write_file("m/two", TWO, 3);
    write_text("m/model.safetensors.index.json",
               "{\"weight_map\":{\"c\":\"two\",\"a\":\"one\"}}");
    struct safetensors *s = safetensors_open("m", NULL);
    ck_assert(s && safetensors_count(s) == 2 && !safetensors_find(s, "b"));
    ck_assert_str_eq(safetensors_at(s, 0)->name, "a");
    ck_assert_str_eq(safetensors_at(s, 1)->name, "c");
    ck_assert_int_eq(*(const uint8_t *)safetensors_find(s, "c")->data, 3);
    ck_assert_str_eq(safetensors_find(s, "c")->file, "m/two");
    safetensors_close(s);
}
END_TEST

/* The links of a Hugging Face cache are followed, others beside them are not. */
START_TEST(cache_links_open)
{
    rwf_fs_mkdirs("hub/blobs", NULL);
    rwf_fs_mkdirs("hub/snapshots/main", NULL);
    write_file("hub/blobs/abc", ONE, 1);
    write_file("hub/other", ONE, 1);
    const char *index = "hub/snapshots/main/model.safetensors.index.json";
    write_text(index, "{\"weight_map\":{\"a\":\"shard\"}}");
    ck_assert_int_eq(symlink("../../blobs/abc", "hub/snapshots/main/shard"), 0);
    expect_open("hub/snapshots/main", NULL);
    unlink("hub/snapshots/main/shard");
    ck_assert_int_eq(symlink("../../blobs/../other", "hub/snapshots/main/shard"), 0);
    expect_open("hub/snapshots/main", "leads out");
    unlink("hub/blobs/abc");
    unlink("hub/snapshots/main/shard");
    ck_assert(symlink("../other", "hub/blobs/abc") == 0 &&
              symlink("../../blobs/abc", "hub/snapshots/main/shard") == 0);
    expect_open("hub/snapshots/main", "leads out");
}
END_TEST

/* --- writing --- */

static struct safetensors_writer *begin(const char *path)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *metadata = json_pack("{s:s}", "format", "pt");
    struct safetensors_writer *w = safetensors_create(path, metadata, &err);
    ck_assert_msg(w != NULL, "%s", err.text);
    json_decref(metadata);
    return w;
}

static void declare(struct safetensors_writer *w, const char *name,
                    enum safetensors_type type, int64_t n)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(safetensors_declare(w, name, type, 1, &n, &err) == 0, "%s", err.text);
}

static unsigned char *some_bytes(size_t size)
{
    unsigned char *bytes = rwf_xmalloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    return bytes;
}

/* In pieces of many sizes, small and large ones mixed. */
START_TEST(written_files_read_back)
{
    static const size_t pieces[] = { 1, 4096, 300000, 7, 1 << 20, 262144, 5 << 20 };
    enum { N = 3000001 };
    struct rwf_err err = RWF_ERR_INIT;
    char digest[RWF_DIGEST_LEN], again[RWF_DIGEST_LEN];
    size_t size = 4 * (size_t)N + 3, at = 0;
    unsigned char *bytes = some_bytes(size);
    struct safetensors_writer *w = begin("f");
    declare(w, "größe \"x\"", SAFETENSORS_F32, N);
    declare(w, "none", SAFETENSORS_BF16, 0);
    declare(w, "last", SAFETENSORS_U8, 3);
    for (size_t i = 0; at < size; i++) {
        size_t n = pieces[i % RWF_COUNT(pieces)];
        n = n < size - at ? n : size - at;
        ck_assert_msg(safetensors_write(w, bytes + at, n, &err) == 0, "%s", err.text);
        at += n;
    }
    ck_assert_msg(safetensors_finish(w, digest, &err) == 0, "%s", err.text);
    ck_assert_int_eq(rwf_digest_file("f", again, NULL, &err), 0);
    ck_assert_str_eq(digest, again);
    struct safetensors *s = safetensors_open("f", &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_uint_eq(safetensors_count(s), 3);
    const struct safetensors_entry *e = safetensors_find(s, "größe \"x\"");
    ck_assert(e && e->bytes == size - 3 && memcmp(e->data, bytes, size - 3) == 0);
    ck_assert_uint_eq((uintptr_t)e->data % 8, 0);
    e = safetensors_find(s, "last");
    ck_assert(e && memcmp(e->data, bytes + size - 3, 3) == 0);
    safetensors_close(s);
    free(bytes);
}
END_TEST

START_TEST(empty_file_is_one)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(safetensors_finish(begin("f"), NULL, &err) == 0, "%s", err.text);
    struct safetensors *s = safetensors_open("f", &err);
    ck_assert_msg(s && safetensors_count(s) == 0, "%s", err.text);
    safetensors_close(s);
}
END_TEST

START_TEST(wrong_amounts_are_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct safetensors_writer *w = begin("f");
    declare(w, "a", SAFETENSORS_U8, 4);
    ck_assert_int_eq(safetensors_write(w, "abc", 3, &err), 0);
    ck_assert_int_eq(safetensors_finish(w, NULL, &err), -1);
    ck_assert_str_eq(err.text, "'f': 4 bytes of the tensors declared, 3 written");
    ck_assert(!rwf_fs_exists("f"));

    w = begin("f");
    declare(w, "a", SAFETENSORS_U8, 4);
    ck_assert_int_eq(safetensors_write(w, "abcde", 5, &err), -1);
    ck_assert_str_eq(err.text, "'f': more bytes than the 4 of the tensors declared");
    ck_assert_int_eq(safetensors_finish(w, NULL, &err), -1);
    ck_assert(!rwf_fs_exists("f"));

    w = begin("f");
    declare(w, "a", SAFETENSORS_U8, 4);
    int64_t huge[] = { INT64_MAX, 3 }, one = 1;
    ck_assert_int_eq(safetensors_declare(w, "b", SAFETENSORS_U8, 2, huge, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "'b' has a shape that no file can hold"));
    ck_assert_int_eq(safetensors_declare(w, "a", SAFETENSORS_U8, 1, &one, &err), -1);
    ck_assert_str_eq(err.text, "'f': tensor name 'a' is taken");
    ck_assert_int_eq(safetensors_declare(w, "\xff", SAFETENSORS_U8, 1, &one, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "not UTF-8"));
    ck_assert_ptr_null(safetensors_create("f", NULL, &err));
    ck_assert_str_eq(err.text, "cannot create 'f': File exists");
    safetensors_abort(w);
    ck_assert(!rwf_fs_exists("f"));
    safetensors_abort(NULL);
}
END_TEST

/* Said at the first byte where the file system can tell, else when it is reached. */
START_TEST(limit_is_told)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rlimit limit = { 1 << 20, 1 << 20 };
    size_t size = 4 << 20;
    unsigned char *bytes = some_bytes(size);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct safetensors_writer *w = begin("f");
    declare(w, "a", SAFETENSORS_U8, (int64_t)size);
    ck_assert_int_eq(safetensors_write(w, bytes, size, &err), -1);
    ck_assert_int_eq(err.code, EFBIG);
    ck_assert_msg(strstr(err.text, "cannot write 'f': it needs 41944"), "%s", err.text);
    ck_assert_int_eq(safetensors_write(w, bytes, 1, &err), -1);
    ck_assert_int_eq(safetensors_finish(w, NULL, &err), -1);
    ck_assert(!rwf_fs_exists("f"));
    free(bytes);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("safetensors");
    TCase *t = tcase_create("safetensors");
    tcase_add_checked_fixture(t, enter, leave);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, golden_file_reads);
    tcase_add_test(t, all_halves_convert);
    tcase_add_loop_test(t, headers_are_checked, 0, RWF_COUNT(headers));
    tcase_add_test(t, cut_files_are_refused);
    tcase_add_test(t, files_open);
    tcase_add_loop_test(t, folders_open, 0, RWF_COUNT(indexes));
    tcase_add_test(t, index_decides);
    tcase_add_test(t, cache_links_open);
    tcase_add_test(t, written_files_read_back);
    tcase_add_test(t, empty_file_is_one);
    tcase_add_test(t, wrong_amounts_are_refused);
    tcase_add_test(t, limit_is_told);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
