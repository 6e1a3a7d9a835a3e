/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a model trains on one device, without data, ranks and checkpoints: forward,
 * backward, clipping and AdamW on a batch that stays.
 *
 *   model DEVICE PRESET float|bf16 ROWS LENGTH STEPS [LAYERS_COMPUTED_TWICE]
 *
 * Prints the memory of the activations, the loss of each step, and the median step with
 * tokens/s, FLOP/s (model_flops) and its part of the device's peak (MFU).
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "../unit/model_placed.h"

struct bench {
    struct device device;
    struct model *m;
    struct placed placed;
    struct model_run run;
    struct model_batch batch;
    int steps;
    double *seconds;
};

static int prepare(struct bench *b, char **argv, struct rwf_err *err)
{
    json_t *model = json_pack("{s:s, s:s}", "type", "transformer", "preset", argv[2]);
    json_t *config = model_config(model, 0, err);
    json_decref(model);
    if (config == NULL || device_open(&b->device, argv[1], 0, 0, err) != 0)
        return -1;
    int vocab = (int)json_integer_value(json_object_get(config, "vocab_size"));
    b->m = model_create(config, err);
    json_decref(config);
    b->run = (struct model_run){.device = &b->device,
                                .type = strcmp(argv[3], "bf16") == 0 ? KERNEL_BF16
                                                                     : KERNEL_F32,
                                .rows = atoi(argv[4]),
                                .length = atoi(argv[5]),
                                .train = true,
                                .recompute = argv[7] != NULL ? atoi(argv[7]) : 0};
    b->steps = atoi(argv[6]);
    if (placed_open(&b->placed, &b->device, b->m, b->run.type, false, 1, err) != 0)
        return -1;
    if (placed_tokens(&b->placed, b->run.rows, b->run.length, vocab, &b->batch, err) !=
        0)
        return -1;
    struct model_store store = placed_store(&b->placed);
    return model_begin(b->m, &b->run, &store, err);
}

static void print_memory(struct bench *b)
{
    json_t *rows, *row;
    size_t i;
    /* what is free now has no part in it: the run has been chosen */
    struct model_run run = b->run;
    int64_t bytes = model_activation_bytes(b->m, &run, &rows);
    json_array_foreach(rows, i, row)
        printf("%10.1f MB  %s\n",
               (double)json_integer_value(json_object_get(row, "bytes")) / 1e6,
               json_string_value(json_object_get(row, "name")));
    printf("%10.1f MB  activations, %.1f M parameters\n", (double)bytes / 1e6,
           (double)model_layout(b->m)->parameters / 1e6);
    json_decref(rows);
}

static int step(struct bench *b, int i, struct rwf_err *err)
{
    float scale = 1.0f / (float)(b->run.rows * b->run.length);
    int64_t start = rwf_clock_mono();
    placed_zero(&b->placed);
    model_forward(b->m, &b->batch, scale, (uint64_t)i);
    model_backward(b->m, &b->batch);
    placed_update(&b->placed, 3e-4f, i + 1);
    if (device_sync(&b->device, err) != 0)
        return -1;
    b->seconds[i] = (double)(rwf_clock_mono() - start) / 1e9;
    printf("step %d: loss %.4f, %.2f ms\n", i + 1, placed_loss(&b->placed),
           b->seconds[i] * 1e3);
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct bench *b)
{
    double rows = b->run.rows, flops = model_flops(b->m, b->run.length) * rows;
    double peak =
        b->run.type == KERNEL_BF16 ? b->device.info.peak_bf16 : b->device.info.peak_f32;
    qsort(b->seconds, (size_t)b->steps, sizeof(double), compare);
    double median = b->seconds[b->steps / 2];
    printf("%s: median %.2f ms, %.0f tokens/s, %.1f TFLOP/s", b->device.info.name,
           median * 1e3, rows * b->run.length / median, flops / median / 1e12);
    if (peak > 0)
        printf(", MFU %.1f %%", 100 * flops / median / peak);
    printf("\n");
}

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct bench b = {0};
    if (argc < 7) {
        fprintf(stderr,
                "usage: model DEVICE PRESET float|bf16 ROWS LENGTH STEPS [TWICE]\n");
        return 2;
    }
    int rc = prepare(&b, argv, &err);
    if (rc == 0) {
        print_memory(&b);
        b.seconds = rwf_xcalloc((size_t)b.steps + 1, sizeof(double));
        for (int i = 0; i < b.steps && rc == 0; i++)
            rc = step(&b, i, &err);
    }
    if (rc == 0)
        report(&b);
    else
        fprintf(stderr, "model: %s\n", err.text);
    if (b.placed.layout != NULL) {
        model_end(b.m);
        placed_close(&b.placed);
    }
    model_destroy(b.m);
    device_close(&b.device);
    free(b.seconds);
    return rc != 0;
}
