/* SPDX-License-Identifier: Apache-2.0
 *
 * checkpoint [MILLIONS [FOLDER]]: writes checkpoints of a model with so many parameters
 * and AdamW's state (12 bytes each), beside a plain write of as many bytes to the same
 * disk and the digest alone, in the same run. Best of several rounds.
 */
#include "config.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "train/checkpoint.h"

#define ROUNDS 3
#define TENSORS 96
#define PIECE ((size_t)8 << 20)

static char *memory; /* what the tensors are copied from */
static int64_t elements;

static void die(const struct rwf_err *err)
{
    fprintf(stderr, "checkpoint: %s\n", err->text);
    exit(1);
}

static double seconds_since(int64_t start)
{
    return (double)(rwf_clock_mono() - start) / 1e9;
}

static double least(double a, double b)
{
    return a > 0 && a < b ? a : b;
}

static void copy(void *ctx, const struct checkpoint_tensor *t, size_t offset,
                 size_t size, void *to)
{
    (void)ctx;
    memcpy(to, (const char *)t->source + offset, size);
}

static struct checkpoint_tensor *tensors(size_t count, const char *from)
{
    struct checkpoint_tensor *all = rwf_xcalloc(count, sizeof(*all));
    for (size_t i = 0; i < count; i++)
        all[i] =
            (struct checkpoint_tensor){ .name = rwf_xasprintf("layer.%zu.weight", i),
                                        .type = SAFETENSORS_F32,
                                        .dims = 1,
                                        .shape = { elements / TENSORS },
                                        .read = copy,
                                        .source = from + (size_t)elements / TENSORS *
                                                             sizeof(float) * i };
    return all;
}

static void let_go(void *ctx, struct checkpoint_content *content)
{
    (void)content;
    *(double *)ctx = (double)rwf_clock_mono();
}

static double plain_write(const char *folder, size_t bytes)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_fs_join(folder, "plain");
    int64_t start = rwf_clock_mono();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    for (size_t at = 0; at < bytes; at += PIECE)
        if (rwf_fs_write_all(fd, memory + at % ((size_t)elements * 4 / PIECE * PIECE),
                             PIECE, &err) < 0)
            die(&err);
    if (fsync(fd) < 0)
        exit(1);
    close(fd);
    double took = seconds_since(start);
    unlink(path);
    free(path);
    return took;
}

static double digest(size_t bytes)
{
    char out[RWF_DIGEST_LEN];
    int64_t start = rwf_clock_mono();
    rwf_digest_bytes(memory, bytes, out);
    return seconds_since(start);
}

static void round_of(struct checkpoints *c, struct checkpoint_content *content,
                     int64_t step, double *released, double *all)
{
    struct rwf_err err = RWF_ERR_INIT;
    double at = 0;
    content->state = json_pack("{s:i}", "v", 1);
    int64_t start = rwf_clock_mono();
    if (checkpoints_write(c, step, content, let_go, &at, &err) < 0 ||
        checkpoints_wait(c, &err) < 0)
        die(&err);
    *all = least(*all, seconds_since(start));
    *released = least(*released, (at - (double)start) / 1e9);
}

static double find(const char *folder)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = NULL;
    int64_t start = rwf_clock_mono();
    if (checkpoint_find(folder, NULL, NULL, &path, NULL, &err) < 0 || !path)
        die(&err);
    free(path);
    return seconds_since(start);
}

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    double millions = argc > 1 ? atof(argv[1]) : 124;
    const char *folder = argc > 2 ? argv[2] : "checkpoint-bench";
    elements = (int64_t)(millions * 1e6) / TENSORS * TENSORS;
    size_t bytes = (size_t)elements * sizeof(float);
    memory = rwf_xmalloc(bytes);
    for (size_t i = 0; i < bytes; i += sizeof(unsigned))
        *(unsigned *)(void *)(memory + i) = (unsigned)(i * 2654435761u);
    struct checkpoints_options o = { .folder = folder, .keep_latest = 1 };
    struct checkpoints *c = checkpoints_open(&o, &err);
    if (!c)
        die(&err);
    json_t *config = json_object();
    struct checkpoint_content content = { .model = tensors(TENSORS, memory),
                                          .model_count = TENSORS,
                                          .config = config };
    struct checkpoint_tensor *m = tensors(TENSORS, memory),
                             *v = tensors(TENSORS, memory);
    content.optimizer = rwf_xcalloc(2 * TENSORS, sizeof(*m));
    for (size_t i = 0; i < TENSORS; i++) {
        content.optimizer[i] = m[i];
        content.optimizer[i].name = rwf_xasprintf("%s.m", m[i].name);
        content.optimizer[TENSORS + i] = v[i];
        content.optimizer[TENSORS + i].name = rwf_xasprintf("%s.v", m[i].name);
    }
    content.optimizer_count = 2 * TENSORS;
    double plain = 0, sha = 0, released = 0, all = 0, verified = 0;
    for (int i = 0; i < ROUNDS; i++) {
        plain = least(plain, plain_write(folder, 3 * bytes));
        sha = least(sha, 3 * digest(bytes));
        round_of(c, &content, i + 1, &released, &all);
        verified = least(verified, find(folder));
    }
    double gb = 3 * (double)bytes / 1e9;
    printf("plain write and fsync of %.2f GB: %.2f s (%.2f GB/s)\n", gb, plain,
           gb / plain);
    printf("SHA-256 alone: %.2f s (%.2f GB/s)\n", sha, gb / sha);
    printf("checkpoint: %.2f s (%.2f GB/s), content let go after %.2f s\n", all,
           gb / all, released);
    printf("found and verified: %.2f s (%.2f GB/s)\n", verified, gb / verified);
    if (checkpoints_close(c, &err) < 0)
        die(&err);
    return 0;
}
