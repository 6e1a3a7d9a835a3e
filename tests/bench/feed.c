/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast data gets to training, for feed.sh:
 *
 *   feed prepare FOLDER SPEC.json CORES     prepare_data into FOLDER, seconds
 *   feed batches FOLDER GLOBAL MICRO LENGTH batches_next: as fast as it goes, then with
 * a step of 5 ms between the calls
 */
#include "config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/clock.h"
#include "tests/unit/train_data_help.h"
#include "train/batches.h"
#include "train/prepared.h"

static int failed(const struct rwf_err *err)
{
    fprintf(stderr, "%s\n", err->text);
    return 1;
}

static int prepare(char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_load_file(argv[1], 0, NULL), *info = NULL;
    struct op_run run = {
        .address = "feed", .spec = spec, .dir = ".", .cpu = atof(argv[2])
    };
    struct rusage usage;
    int64_t since = rwf_clock_mono();
    if (prepare_data(&run, spec, argv[0], &info, &err) < 0)
        return failed(&err);
    getrusage(RUSAGE_SELF, &usage);
    printf("prepared in %.2f s, %ld MB resident at most\n",
           (double)(rwf_clock_mono() - since) / 1e9, usage.ru_maxrss / 1000);
    json_decref(info);
    json_decref(spec);
    return 0;
}

static int batches(char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct batches_options o = { .folder = argv[0],
                                 .split = "train",
                                 .global = atoi(argv[1]),
                                 .micro = atoi(argv[2]),
                                 .length = atoi(argv[3]),
                                 .size = 1,
                                 .seed = 1,
                                 .shuffle = true,
                                 .order = true,
                                 .device = &host_device };
    struct batches *b = batches_open(&o, &err);
    int n = 2000;
    if (b == NULL)
        return failed(&err);
    for (int i = 0; i < n / 10; i++)
        batches_next(b);
    int64_t since = rwf_clock_mono();
    for (int i = 0; i < n; i++)
        batches_next(b);
    printf("a micro batch: %.1f us\n", (double)(rwf_clock_mono() - since) / 1e3 / n);
    double waited = batches_waited(b);
    since = rwf_clock_mono();
    for (int i = 0; i < 400; i++) {
        batches_next(b);
        usleep(5000);
    }
    waited = batches_waited(b) - waited;
    printf(
        "with a step of 5 ms: %.2f us waited for a micro batch, %.4f %% of the time\n",
        waited * 1e6 / 400, waited * 100 / ((double)(rwf_clock_mono() - since) / 1e9));
    batches_close(b);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "prepare") == 0)
        return prepare(argv + 2);
    if (argc == 6 && strcmp(argv[1], "batches") == 0)
        return batches(argv + 2);
    fprintf(stderr, "see the head of feed.c\n");
    return 2;
}
