/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer from the command line, for the comparison in tokenizer.sh:
 *   tokenizer speed TOKENIZER FILE      MB/s of encoding FILE's lines, five times over
 *   tokenizer ids TOKENIZER [plain]     texts in, ids out: each text is its length (4
 * bytes in native order) and its bytes, ids are their count and then themselves (4
 * bytes each) tokenizer train VOCAB_SIZE FILE [SPECIAL...]   writes a tokenizer.json;
 * time to stderr
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "text/tokenizer.h"

static int fail(const struct rwf_err *err)
{
    fprintf(stderr, "tokenizer: %s\n", err->text);
    return 1;
}

static size_t encode_lines(const struct tokenizer *t, const char *text, size_t len,
                           struct tokenizer_ids *ids)
{
    const char *end = text + len;
    size_t total = 0;

    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop + 1 : end;
        ids->count = 0;
        tokenizer_encode(t, text, (size_t)(stop - text), ids);
        total += ids->count;
        text = stop;
    }
    return total;
}

static int speed(char **args)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer_ids ids = {0};
    size_t len;

    struct tokenizer *t = tokenizer_open(args[0], &err);
    char *text = t ? rwf_fs_read(args[1], SIZE_MAX / 2, &len, &err) : NULL;
    if (!text)
        return fail(&err);
    for (int i = 0; i < 5; i++) {
        double start = (double)rwf_clock_mono();
        size_t total = encode_lines(t, text, len, &ids);
        double seconds = ((double)rwf_clock_mono() - start) / 1e9;
        printf("raywf: %.1f MB/s, %zu tokens\n", (double)len / 1e6 / seconds, total);
    }
    free(text);
    free(ids.ids);
    tokenizer_close(t);
    return 0;
}

static int all_ids(char **args)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer_ids ids = {0};
    char *text = NULL;
    uint32_t len;

    struct tokenizer *t = tokenizer_open(args[0], &err);
    if (!t)
        return fail(&err);
    while (fread(&len, sizeof(len), 1, stdin) == 1) {
        text = rwf_xrealloc(text, (size_t)len + 1);
        if (fread(text, 1, len, stdin) != len)
            return 1;
        ids.count = 0;
        (args[1] ? tokenizer_encode_plain : tokenizer_encode)(t, text, len, &ids);
        uint32_t count = (uint32_t)ids.count;
        fwrite(&count, sizeof(count), 1, stdout);
        fwrite(ids.ids, sizeof(*ids.ids), count, stdout);
    }
    free(text);
    free(ids.ids);
    tokenizer_close(t);
    return 0;
}

static int train(char **args, size_t special)
{
    struct rwf_err err = RWF_ERR_INIT;
    double start = (double)rwf_clock_mono();
    size_t len;

    char *text = rwf_fs_read(args[1], SIZE_MAX / 2, &len, &err);
    struct bpe_trainer *t =
        text ? bpe_trainer_create(atoi(args[0]), (const char *const *)args + 2, special,
                                  &err)
             : NULL;
    if (!t)
        return fail(&err);
    bpe_trainer_add(t, text, len);
    fprintf(stderr, "counted: %.2f s\n", ((double)rwf_clock_mono() - start) / 1e9);
    char *json = bpe_trainer_finish(t, &len, &err);
    if (!json)
        return fail(&err);
    fprintf(stderr, "learned: %.2f s\n", ((double)rwf_clock_mono() - start) / 1e9);
    fwrite(json, 1, len, stdout);
    free(json);
    free(text);
    bpe_trainer_destroy(t);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "speed") == 0)
        return speed(argv + 2);
    if (argc >= 3 && strcmp(argv[1], "ids") == 0)
        return all_ids(argv + 2);
    if (argc >= 4 && strcmp(argv[1], "train") == 0)
        return train(argv + 2, (size_t)argc - 4);
    fprintf(stderr, "usage: the head of tests/bench/tokenizer.c\n");
    return 2;
}
