/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: what ranks see together, in which order, whatever their number. Rows have
 * one feature, their own number, and tokens are numbered along the stream, so that a
 * batch tells where each of its parts came from.
 */
#include "config.h"
#include "train/batches.h"
#include <unistd.h>
#include "tests/unit/data_help.h"
#include "tests/unit/train_data_help.h"
#include "train/batches_order.h"

static char *folder;

static void setup(void)
{
    folder = make_dir();
}

static void teardown(void)
{
    remove_dir(folder);
}

static void write_bytes(const char *name, const void *bytes, size_t len)
{
    char *path = rwf_fs_join(folder, name);
    ck_assert_int_eq(rwf_fs_write(path, bytes, len, false, NULL), 0);
    free(path);
}

/* Splits train and val of `rows` rows each: x = (row, -row), y = row % 3. */
static void write_rows(int rows)
{
    float *x = rwf_xcalloc((size_t)rows * 2, sizeof(*x));
    int32_t *y = rwf_xcalloc((size_t)rows, sizeof(*y));
    for (int i = 0; i < rows; i++) {
        x[2 * i] = (float)i;
        x[2 * i + 1] = (float)-i;
        y[i] = i % 3;
    }
    const char *splits[] = { "train", "val" };
    for (int s = 0; s < 2; s++) {
        char name[16];
        snprintf(name, sizeof(name), "%s.x", splits[s]);
        write_bytes(name, x, (size_t)rows * 2 * sizeof(*x));
        snprintf(name, sizeof(name), "%s.y", splits[s]);
        write_bytes(name, y, (size_t)rows * sizeof(*y));
    }
    char *info =
        rwf_xasprintf("{\"v\":1,\"kind\":\"rows\",\"features\":2,\"outputs\":3,"
                      "\"task\":\"classification\",\"classes\":[\"a\",\"b\",\"c\"],"
                      "\"splits\":{\"train\":{\"rows\":%d},\"val\":{\"rows\":%d}}}",
                      rows, rows);
    write_text(folder, "data.json", info);
    free(info);
    free(x);
    free(y);
}

/* The stream 0, 1, 2, … */
static void write_tokens(int count, int width)
{
    char *bytes = rwf_xcalloc((size_t)count, 4);
    for (int i = 0; i < count; i++) {
        if (width == 2)
            ((uint16_t *)(void *)bytes)[i] = (uint16_t)i;
        else
            ((uint32_t *)(void *)bytes)[i] = (uint32_t)i;
    }
    write_bytes("train.ids", bytes, (size_t)count * (size_t)width);
    write_bytes("val.ids", bytes, (size_t)count * (size_t)width);
    char *info =
        rwf_xasprintf("{\"v\":1,\"kind\":\"tokens\",\"vocab\":%d,\"width\":%d,"
                      "\"splits\":{\"train\":{\"tokens\":%d},\"val\":{\"tokens\":%d}}}",
                      count, width, count, count);
    write_text(folder, "data.json", info);
    free(info);
    free(bytes);
}

static struct batches_options options(int64_t global, int micro)
{
    return (struct batches_options){
        .folder = folder,
        .split = "train",
        .global = global,
        .micro = micro,
        .length = 4,
        .size = 1,
        .seed = 7,
        .shuffle = true,
        .order = true,
        .device = &host_device,
    };
}

static struct batches *open_good(const struct batches_options *o)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct batches *b = batches_open(o, &err);
    ck_assert_msg(b != NULL, "%s", err.text);
    return b;
}

/* The global batches of `steps` steps from `first` as `size` ranks see them together:
 * to[] is the number (first feature, first token) of each row, in the order of micro
 * steps and ranks, ended by -1 after each global batch. Checks what every micro batch
 * promises. */
static size_t see(struct batches_options o, int size, int64_t first, int64_t steps,
                  int *to)
{
    struct batches *ranks[8];
    size_t n = 0;
    o.size = size;
    for (o.rank = 0; o.rank < size; o.rank++) {
        ranks[o.rank] = open_good(&o);
        if (first > 0)
            batches_seek(ranks[o.rank], first);
    }
    for (int64_t step = first; step < first + steps; step++) {
        int64_t rows = 0, global = -1;
        bool last = false;
        while (!last) {
            for (int r = 0; r < size; r++) {
                const struct batches_micro *m = batches_next(ranks[r]);
                ck_assert_ptr_nonnull(m);
                ck_assert_int_le(m->rows, o.micro);
                ck_assert(r == 0 || m->last == last);
                ck_assert(global < 0 || m->global == global);
                last = m->last;
                global = m->global;
                rows += m->rows;
                for (int i = 0; i < m->rows; i++) {
                    to[n++] =
                        m->ids != NULL ? m->ids[i * o.length] : (int)m->features[2 * i];
                    if (m->ids == NULL) {
                        ck_assert_float_eq(m->features[2 * i + 1], -m->features[2 * i]);
                        ck_assert_int_eq(m->targets[i], to[n - 1] % 3);
                    }
                }
            }
        }
        ck_assert_int_eq(rows, global);
        to[n++] = -1;
    }
    for (int r = 0; r < size; r++)
        batches_close(ranks[r]);
    return n;
}

/* Rows, global, micro: also odd ones, short last batches, one row. */
static const int shapes[][3] = {
    { 150, 32, 8 }, { 150, 32, 32 }, { 151, 37, 5 }, { 64, 64, 64 }, { 5, 7, 2 },
    { 1, 1, 1 },    { 129, 65, 64 }, { 97, 13, 1 },  { 2, 1, 3 },    { 1000, 999, 250 },
};

/* Every row once in each epoch; the same global batches, in the same order of rows, for
 * any number of ranks; epochs differ. */
START_TEST(test_rows)
{
    const int *s = shapes[_i];
    struct batches_options o = options(s[1], s[2]);
    int one[4096], many[4096], *seen = rwf_xcalloc((size_t)s[0], sizeof(*seen));
    int64_t steps = (s[0] + s[1] - 1) / s[1];
    write_rows(s[0]);
    struct batches *b = open_good(&o);
    ck_assert_int_eq(batches_per_epoch(b), steps);
    batches_close(b);
    size_t n = see(o, 1, 0, 2 * steps, one);
    ck_assert_uint_eq(n, (size_t)(2 * (s[0] + steps)));
    for (size_t i = 0; i < n; i++)
        if (one[i] >= 0)
            seen[one[i]] += i < n / 2 ? 1 : 100;
    for (int i = 0; i < s[0]; i++)
        ck_assert_int_eq(seen[i], 101);
    if (s[0] > 10)
        ck_assert(memcmp(one, one + n / 2, n / 2 * sizeof(*one)) != 0);
    for (int size = 2; size <= 5; size++) {
        o.micro = s[2];
        ck_assert_uint_eq(see(o, size, 0, 2 * steps, many), n);
        ck_assert(memcmp(one, many, n * sizeof(*one)) == 0);
    }
    o.seed++;
    see(o, 1, 0, 2 * steps, many);
    if (s[0] > 10)
        ck_assert(memcmp(one, many, n * sizeof(*one)) != 0);
    free(seen);
}
END_TEST

/* A batch that is sought is the one that is reached. */
START_TEST(test_seek)
{
    const int *s = shapes[_i];
    struct batches_options o = options(s[1], s[2]);
    int64_t steps = 3 * ((s[0] + s[1] - 1) / s[1]);
    int all[8192], some[8192];
    write_rows(s[0]);
    size_t n = see(o, 1, 0, steps, all), at = 0;
    see(o, 1, 0, steps + 4, all); /* for those who go on after the last */
    for (int64_t first = 0; first < steps; first += 1 + steps / 7) {
        int64_t passed = 0;
        for (at = 0; passed < first; at++)
            passed += all[at] < 0;
        size_t got = see(o, 3, first, steps - first, some);
        ck_assert_uint_eq(got, n - at);
        ck_assert(memcmp(all + at, some, got * sizeof(*some)) == 0);
    }
    /* also back and forth in one that runs */
    struct batches *b = open_good(&o);
    const struct batches_micro *m;
    for (int64_t round = 0; round < 20; round++) {
        int64_t passed = 0, step = round * 5 % steps;
        for (at = 0; passed < step; at++)
            passed += all[at] < 0;
        batches_seek(b, step);
        for (int k = 0; k < round % 4; k++) {
            m = batches_next(b);
            ck_assert_int_eq((int)m->features[0], all[at]);
            at += (size_t)m->rows + m->last;
        }
    }
    batches_close(b);
}
END_TEST

/* In order, once, then NULL, until it is sought again. */
START_TEST(test_pass)
{
    const int *s = shapes[_i];
    for (int size = 1; size <= 3; size++) {
        int next[3] = { 0 }, sum = 0, seen = 0;
        write_rows(s[0]);
        for (int rank = 0; rank < size; rank++) {
            struct batches_options o = options(s[1], s[2]);
            o.split = "val";
            o.shuffle = false;
            o.rank = rank;
            o.size = size;
            struct batches *b = open_good(&o);
            const struct batches_micro *m;
            for (int pass = 0; pass < 2; pass++) {
                for (next[rank] = -1; (m = batches_next(b)) != NULL;)
                    for (int i = 0; i < m->rows; i++) {
                        int row = (int)m->features[2 * i];
                        ck_assert_int_gt(row, next[rank]);
                        next[rank] = row;
                        sum += row;
                        seen++;
                    }
                ck_assert_ptr_null(batches_next(b));
                batches_seek(b, 0);
            }
            batches_close(b);
        }
        ck_assert_int_eq(seen, 2 * s[0]);
        ck_assert_int_eq(sum, s[0] * (s[0] - 1));
    }
}
END_TEST

/* What a call gave stays until the second next one. */
START_TEST(test_valid)
{
    struct batches_options o = options(8, 2);
    float kept[2][4];
    const struct batches_micro *held[2] = { NULL, NULL };
    write_rows(100);
    struct batches *b = open_good(&o);
    for (int i = 0; i < 500; i++) {
        const struct batches_micro *m = batches_next(b);
        for (int k = 0; k < 2; k++)
            if (held[k] != NULL && k != i % 2) /* the one of the call before */
                ck_assert(memcmp(held[k]->features, kept[k],
                                 sizeof(float) * 2 * (size_t)held[k]->rows) == 0);
        held[i % 2] = m;
        memcpy(kept[i % 2], m->features, sizeof(float) * 2 * (size_t)m->rows);
        if (i % 7 == 0)
            usleep(100);
        if (i % 50 == 49)
            batches_seek(b, i);
    }
    batches_close(b);
}
END_TEST

/* Tokens: sequences overlap by one, the targets are the next tokens, no token is
 * trained on twice in an epoch, and epochs are cut at different places. */
START_TEST(test_tokens)
{
    int width = _i == 0 ? 2 : 4, one[4096], many[4096];
    struct batches_options o = options(6, 4);
    write_tokens(203, width); /* 50 sequences of 4 and 2 more; 8 batches of 6 */
    struct batches *b = open_good(&o);
    ck_assert_int_eq(batches_per_epoch(b), 8);
    bool offsets[4] = { false };
    for (int epoch = 0; epoch < 30; epoch++) {
        bool seen[203] = { false };
        int offset = -1;
        for (int64_t step = 0; step < 8;) {
            const struct batches_micro *m = batches_next(b);
            for (int i = 0; i < m->rows * 4; i++) {
                ck_assert_int_eq(m->targets[i], m->ids[i] + 1);
                ck_assert_int_eq(m->ids[i], m->ids[i / 4 * 4] + i % 4);
                ck_assert_int_lt(m->targets[i], 203);
                ck_assert(!seen[m->ids[i]]);
                seen[m->ids[i]] = true;
                if (offset < 0)
                    offset = m->ids[i] % 4;
                ck_assert(i % 4 != 0 || m->ids[i] % 4 == offset);
            }
            for (int i = 1; i < m->rows * 4; i++)
                ck_assert_int_lt(m->ids[m->order[i - 1]], m->ids[m->order[i]]);
            step += m->last;
        }
        offsets[offset] = true;
    }
    for (int i = 0; i < 4; i++)
        ck_assert(offsets[i]);
    batches_close(b);
    size_t n = see(o, 1, 0, 24, one);
    for (int size = 2; size <= 4; size++) {
        ck_assert_uint_eq(see(o, size, 0, 24, many), n);
        ck_assert(memcmp(one, many, n * sizeof(*one)) == 0);
    }
}
END_TEST

/* Evaluation of tokens: all whole sequences in order, the last batch short. */
START_TEST(test_token_pass)
{
    for (int size = 1; size <= 3; size++) {
        int seen = 0;
        write_tokens(203, 2);
        for (int rank = 0; rank < size; rank++) {
            struct batches_options o = options(8, 3);
            o.shuffle = false;
            o.split = "val";
            o.size = size;
            o.rank = rank;
            o.order = false;
            struct batches *b = open_good(&o);
            const struct batches_micro *m;
            ck_assert_int_eq(batches_per_epoch(b), 7);
            while ((m = batches_next(b)) != NULL) {
                ck_assert_ptr_null(m->order);
                for (int i = 0; i < m->rows; i++)
                    ck_assert_int_eq(m->ids[i * 4] % 4, 0);
                seen += m->rows;
            }
            batches_close(b);
        }
        ck_assert_int_eq(seen, 50);
    }
}
END_TEST

/* A spread of where rows go: each of 20 rows is first in about 1/20 of 4000 epochs. */
START_TEST(test_permutation)
{
    int first[20] = { 0 }, pairs = 0;
    for (uint64_t epoch = 0; epoch < 4000; epoch++) {
        struct batches_permutation p;
        unsigned seen = 0;
        batches_permute_init(&p, 20, 1, epoch);
        for (int i = 0; i < 20; i++)
            seen |= 1U << batches_permute(&p, i);
        ck_assert_uint_eq(seen, (1U << 20) - 1);
        first[batches_permute(&p, 0)]++;
        pairs += batches_permute(&p, 1) == batches_permute(&p, 0) + 1;
    }
    double chi = 0;
    for (int i = 0; i < 20; i++)
        chi += (first[i] - 200.0) * (first[i] - 200.0) / 200;
    ck_assert_double_lt(chi, 45); /* 19 degrees of freedom: p < 0.001 */
    ck_assert_int_gt(pairs, 130); /* 19/380 of 4000: 200, ± 14 */
    ck_assert_int_lt(pairs, 270);
}
END_TEST

/* Against a plain insertion of what is least. */
START_TEST(test_sort)
{
    static const int32_t limits[] = { 2, 50, 2048, 50257, 151936, 5000000, INT32_MAX };
    int32_t ids[300], order[300], scratch[300];
    uint64_t state = 1;
    for (size_t l = 0; l < RWF_COUNT(limits); l++) {
        for (int i = 0; i < 300; i++) {
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
            ids[i] = (int32_t)((state >> 33) % (uint64_t)limits[l]);
        }
        batches_sort(ids, order, scratch, 300);
        unsigned long sum = 0;
        for (int i = 0; i < 300; i++) {
            sum += (unsigned long)order[i];
            ck_assert(i == 0 || ids[order[i - 1]] < ids[order[i]] ||
                      (ids[order[i - 1]] == ids[order[i]] && order[i - 1] < order[i]));
        }
        ck_assert_uint_eq(sum, 300 * 299 / 2);
    }
}
END_TEST

static void refused(const struct batches_options *o, const char *part)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(batches_open(o, &err));
    ck_assert_msg(strstr(err.text, part) != NULL, "%s\nhas no: %s", err.text, part);
}

static void cut_file(const char *name, long size)
{
    char *path = rwf_fs_join(folder, name);
    ck_assert_int_eq(truncate(path, size), 0);
    free(path);
}

START_TEST(test_errors)
{
    struct batches_options o = options(8, 2);
    refused(&o, "data.json");
    write_text(folder, "data.json", "{");
    refused(&o, "data.json:1");
    write_text(folder, "data.json", "{\"v\":2}");
    refused(&o, "another version");
    write_rows(10);
    cut_file("train.x", 79);
    refused(&o, "train.x has 79 bytes, but data.json says 80");
    cut_file("train.x", 80);
    cut_file("train.y", 44);
    refused(&o, "train.y has 44 bytes");
    o.split = "test";
    refused(&o, "has no split test");
    o.split = "train";
    write_tokens(30, 2);
    refused(&o, "split train has 30 tokens, which is 7 sequences of 4: fewer than one "
                "global batch needs");
    o.shuffle = false;
    o.length = 30;
    refused(&o, "fewer than an evaluation needs");
    o.length = 4;
    cut_file("train.ids", 2);
    refused(&o, "train.ids has 2 bytes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("batches");
    TCase *t = tcase_create("batches");
    int n = (int)RWF_COUNT(shapes);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_rows, 0, n);
    tcase_add_loop_test(t, test_seek, 0, n);
    tcase_add_loop_test(t, test_pass, 0, n);
    tcase_add_test(t, test_valid);
    tcase_add_loop_test(t, test_tokens, 0, 2);
    tcase_add_test(t, test_token_pass);
    tcase_add_test(t, test_permutation);
    tcase_add_test(t, test_sort);
    tcase_add_test(t, test_errors);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
