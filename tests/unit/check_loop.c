/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole trainings of small models in this process, alone: what they report, how they end,
 * and how they go on after they ended too early. Several ranks: tests/t/t4100-rank.sh.
 */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/model.h"
#include "tensor/comm.h"
#include "tensor/device.h"
#include "tensor/safetensors.h"
#include "train/checkpoint.h"
#include "train/heartbeat.h"
#include "train/job.h"
#include "train/metrics.h"
#include "late_device.h"
#include "train_rig.h"

static char *scratch;

static int train(const json_t *job, struct rwf_err *err)
{
    struct device d;
    struct comm c;
    ck_assert_int_eq(device_open(&d, "cpu", 0, 1, err), 0);
    comm_alone(&c, &d);
    int rc = train_loop(job, &d, &c, err);
    comm_close(&c);
    device_close(&d);
    return rc;
}

static void must_train(const json_t *job)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(train(job, &err) == 0, "%s", err.text);
}

static void set(json_t *job, const char *key, json_t *value)
{
    json_object_set_new(job, key, value);
}

static char *path_in(const char *name)
{
    return rwf_fs_join(scratch, name);
}

/* The objects of a file of JSON lines. */
static json_t *lines_of(const char *name)
{
    char *path = path_in(name);
    size_t len;
    char *text = rwf_fs_read(path, 1 << 24, &len, NULL), *rest = text, *line;
    json_t *list = json_array();
    while (text != NULL && (line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        json_t *o = json_loads(line, 0, NULL);
        ck_assert_msg(o != NULL, "%s: %s", path, line);
        json_array_append_new(list, o);
    }
    free(text);
    free(path);
    return list;
}

static double number(const json_t *lines, int at, const char *key)
{
    size_t n = json_array_size(lines), i = at < 0 ? n - (size_t)-at : (size_t)at;
    const json_t *v = json_object_get(json_array_get(lines, i), key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* --- against PyTorch --- */

/* Made by loop_golden.py: loss and length of the gradient of each step. */
static const double golden[][2] = {
    { 1.1076804, 0.3326896 }, { 1.0757536, 0.3187827 }, { 1.0450342, 0.3087192 },
    { 1.0152813, 0.3027043 }, { 0.9862206, 0.2999407 }, { 0.9575770, 0.2994126 },
    { 0.9291079, 0.3002248 }, { 0.9006356, 0.3017508 }, { 0.8720454, 0.3035805 },
    { 0.8432793, 0.3053482 }, { 0.8143350, 0.3067394 }, { 0.7852507, 0.3075145 },
};

START_TEST(the_loss_curve_is_pytorchs)
{
    json_t *job = rig_job(scratch, RIG_CLASSES, 64);
    set(job, "global_batch_size", json_integer(64));
    set(job, "micro_batch_size", json_integer(24)); /* three micro batches a step */
    set(job, "steps", json_integer(RWF_COUNT(golden)));
    set(job, "clip", json_real(0.2));
    must_train(job);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_uint_eq(json_array_size(lines), RWF_COUNT(golden));
    for (size_t i = 0; i < RWF_COUNT(golden); i++) {
        ck_assert_double_eq_tol(number(lines, (int)i, "loss"), golden[i][0], 2e-6);
        ck_assert_double_eq_tol(number(lines, (int)i, "gradient_norm"), golden[i][1], 2e-6);
    }
    json_decref(lines);
    json_decref(job);
}
END_TEST

/* --- kinds of models --- */

static void read_report(const char *name)
{
    char *path = path_in(name);
    ck_assert_int_eq(rwf_fs_write(path, "", 0, false, NULL), 0);
    free(path);
}

START_TEST(classes_are_learned_and_reported)
{
    json_t *job = rig_job(scratch, RIG_CLASSES, 400);
    char *report = path_in("report"), *board = path_in("board");
    read_report("report");
    set(job, "report", json_string(report));
    set(job, "tensorboard", json_string(board));
    set(job, "steps", json_integer(150));
    set(job, "log_every", json_integer(50));
    json_object_set_new(json_object_get(job, "evaluate"), "every", json_integer(75));
    must_train(job);
    json_t *lines = lines_of("report");
    ck_assert_int_eq((int)number(lines, 0, "step"), 1);
    ck_assert(number(lines, 0, "loss") > 0.8 && number(lines, -1, "loss") < 0.4);
    ck_assert(number(lines, -1, "val_accuracy") > 0.85);
    ck_assert(number(lines, -1, "steps") == 150 && number(lines, -1, "epochs") == 6);
    ck_assert(number(lines, -1, "parameters") == 8 * 16 + 16 + 16 * 3 + 3);
    ck_assert(number(lines, -1, "progress") == 1);
    ck_assert(number(lines, -2, "samples_per_second") > 0);
    ck_assert(number(lines, -2, "data_wait") >= 0 && number(lines, -2, "data_wait") < 1);
    json_decref(lines);
    lines = lines_of("work/metrics.jsonl"); /* 1, 50, 75, 100, 150 */
    ck_assert_uint_eq(json_array_size(lines), 5);
    ck_assert(number(lines, 2, "step") == 75 && number(lines, 2, "val_loss") > 0);
    char *model = path_in("result/model.safetensors"), *state = path_in("result/state.json");
    ck_assert(rwf_fs_is_file(model) && !rwf_fs_exists(state) && rwf_fs_exists(board));
    free(model);
    free(state);
    free(report);
    free(board);
    json_decref(lines);
    json_decref(job);
}
END_TEST

START_TEST(values_are_learned)
{
    json_t *job = rig_job(scratch, RIG_VALUES, 300);
    set(job, "steps", json_integer(200));
    must_train(job);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_msg(number(lines, -1, "val_r2") > 0.95, "%g", number(lines, -1, "val_r2"));
    ck_assert(isnan(number(lines, -1, "val_accuracy")));
    json_decref(lines);
    json_decref(job);
}
END_TEST

/* Two targets far from each other, each about a mean of its own. */
static double write_two_targets(const char *split, int rows)
{
    float *y = rwf_xcalloc((size_t)rows * 2, sizeof(*y));
    double sum[2] = { 0 }, squares = 0;
    for (int i = 0; i < rows * 2; i++) {
        y[i] = (float)(rig_uniform((uint64_t)i) + (i % 2 == 0 ? 3 : -3));
        sum[i % 2] += (double)y[i];
        squares += (double)y[i] * (double)y[i];
    }
    char *name = rwf_xasprintf("data/%s.y", split), *path = path_in(name);
    ck_assert_int_eq(rwf_fs_write(path, (const char *)y, (size_t)rows * 8, false, NULL), 0);
    free(path);
    free(name);
    free(y);
    return squares - (sum[0] * sum[0] + sum[1] * sum[1]) / rows;
}

START_TEST(each_target_has_a_mean_of_its_own)
{
    json_t *job = rig_job(scratch, RIG_VALUES, 64);
    char *path = path_in("data/data.json");
    json_t *info = json_load_file(path, 0, NULL);
    set(info, "outputs", json_integer(2));
    set(json_object_get(job, "config"), "outputs", json_integer(2));
    ck_assert_int_eq(json_dump_file(info, path, 0), 0);
    write_two_targets("train", 64);
    double spread = write_two_targets("val", 16);
    must_train(job);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_double_eq_tol(number(lines, -1, "val_r2"),
                            1 - number(lines, -1, "val_loss") * 32 / spread, 1e-5);
    json_decref(lines);
    json_decref(info);
    free(path);
    json_decref(job);
}
END_TEST

/* Runs the training with stdout into a file, whose text the caller frees. */
static char *output_of(const json_t *job)
{
    char *path = path_in("stdout");
    size_t len;
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    must_train(job);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(fd);
    char *text = rwf_fs_read(path, 1 << 20, &len, NULL);
    free(path);
    return text;
}

START_TEST(a_language_is_learned_and_sampled)
{
    json_t *job = rig_job(scratch, RIG_TOKENS, 3000);
    set(job, "steps", json_integer(60));
    set(job, "precision", json_string(_i == 0 ? "fp32" : "bf16"));
    set(job, "sample", json_pack("{s:[s,s], s:i, s:f}", "prompts", "the cat ", "", "tokens",
                                 12, "temperature", _i == 0 ? 0.5 : 0.0));
    char *text = output_of(job);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_msg(number(lines, -1, "perplexity") < 40, "%g", number(lines, -1, "perplexity"));
    ck_assert(number(lines, -1, "tokens_per_second") > 0);
    ck_assert_msg(strstr(text, "\nsample: the cat ") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "after 60 steps") != NULL, "%s", text);
    char *copied = path_in("result/tokenizer.json");
    ck_assert(rwf_fs_is_file(copied));
    free(copied);
    free(text);
    json_decref(lines);
    json_decref(job);
}
END_TEST

/* Evaluated at 10, 20 …, saved at 7, 14 … and where the best was seen; the larger loss is
 * taken for the better one, so that it is the first. */
START_TEST(the_metrics_are_those_of_the_result)
{
    json_t *job = rig_job(scratch, RIG_CLASSES, 400), *state = NULL;
    char *report = path_in("report"), *path;
    read_report("report");
    set(job, "report", json_string(report));
    set(job, "steps", json_integer(40));
    set(job, "checkpoint", json_pack("{s:i, s:s, s:s, s:i, s:i}", "every", 7, "metric",
                                     "val_loss", "mode", "max", "keep_best", 1,
                                     "keep_latest", 9));
    json_object_set_new(json_object_get(job, "evaluate"), "every", json_integer(10));
    must_train(job);
    json_t *lines = lines_of("report"), *logged = lines_of("work/metrics.jsonl");
    ck_assert(number(lines, -1, "result_step") == 10 && isnan(number(lines, -1, "step")));
    ck_assert(number(logged, 9, "step") == 10);
    ck_assert(number(logged, 9, "val_loss") > number(logged, -1, "val_loss"));
    ck_assert(number(lines, -1, "val_loss") == number(logged, 9, "val_loss"));
    ck_assert(number(lines, -1, "loss") == number(logged, -1, "loss"));
    path = path_in("checkpoints/step-00000014/state.json");
    state = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(json_object_get(json_object_get(state, "metrics"), "loss"));
    ck_assert_ptr_null(json_object_get(json_object_get(state, "metrics"), "val_loss"));
    json_decref(state);
    json_decref(logged);
    json_decref(lines);
    free(path);
    free(report);
    json_decref(job);
}
END_TEST

/* --- adapters --- */

static double tensor_at(const char *file, const char *name, int64_t i)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = path_in(file);
    struct safetensors *s = safetensors_open(path, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    const struct safetensors_entry *e = safetensors_find(s, name);
    float v = NAN;
    if (e != NULL)
        ck_assert_int_eq(safetensors_floats(e, i, 1, &v, &err), 0);
    safetensors_close(s);
    free(path);
    return (double)v;
}

/* A model, then an adapter beside it: the base stays as it is until both are merged. */
START_TEST(an_adapter_is_trained_and_merged)
{
    static const char weight[] = "transformer.h.0.attn.c_attn.weight";
    static const char stem[] = "base_model.model.transformer.h.0.attn.c_attn";
    json_t *job = rig_job(scratch, RIG_TOKENS, 2000);
    char *base = path_in("base"), *checkpoints = path_in("checkpoints"), name[128];
    double product = 0;
    set(job, "precision", json_string(_i == 0 ? "fp32" : "bf16"));
    set(job, "result", json_string(base));
    must_train(job);
    ck_assert_int_eq(rwf_fs_rmtree(checkpoints, NULL), 0);
    char *merged = path_in("result");
    set(job, "result", json_string(merged));
    set(job, "from", json_string(base));
    json_object_set_new(json_object_get(job, "config"), "adapter",
                        json_pack("{s:i, s:i, s:[s]}", "rank", 2, "alpha", 4, "targets",
                                  "c_attn"));
    must_train(job);
    double before = tensor_at("base/model.safetensors", weight, 5);
    ck_assert(before == tensor_at("checkpoints/step-00000020/model.safetensors", weight, 5));
    /* Stored [in, out]: element 5 is of the first input and the sixth output. */
    for (int r = 0; r < 2; r++) {
        snprintf(name, sizeof(name), "%s.lora_A.weight", stem);
        double a = tensor_at("result/adapter/adapter_model.safetensors", name, r * 32);
        snprintf(name, sizeof(name), "%s.lora_B.weight", stem);
        product += a * tensor_at("result/adapter/adapter_model.safetensors", name, 5 * 2 + r);
    }
    double after = tensor_at("result/model.safetensors", weight, 5);
    ck_assert(product != 0);
    ck_assert_double_eq_tol(after, before + 2 * product, _i == 0 ? 1e-6 : 2e-3);
    snprintf(name, sizeof(name), "%s.lora_A.weight", stem);
    ck_assert(isnan(tensor_at("result/model.safetensors", name, 0)));
    /* It is a model like any other. */
    json_object_del(json_object_get(job, "config"), "adapter");
    ck_assert_int_eq(rwf_fs_rmtree(checkpoints, NULL), 0);
    set(job, "from", json_string(merged));
    set(job, "result", json_string(base));
    must_train(job);
    free(merged);
    free(checkpoints);
    free(base);
    json_decref(job);
}
END_TEST

/* --- going on --- */

static char *bytes_of(const char *name, size_t *ret_len)
{
    char *path = path_in(name);
    char *bytes = rwf_fs_read(path, 1 << 24, ret_len, NULL);
    ck_assert_msg(bytes != NULL, "%s", path);
    free(path);
    return bytes;
}

/* With everything that has a state: momenta, dropout, micro batches, clipping. */
static json_t *resumable(enum rig_kind kind)
{
    json_t *job = rig_job(scratch, kind, kind == RIG_TOKENS ? 2000 : 200);
    set(job, "clip", json_real(0.5));
    if (kind == RIG_TOKENS) {
        set(job, "precision", json_string("bf16"));
        set(json_object_get(job, "config"), "resid_pdrop", json_real(0.1));
    } else {
        set(json_object_get(job, "config"), "dropout", json_real(0.1));
    }
    set(job, "schedule", json_pack("{s:s, s:i, s:f}", "type", "cosine", "warmup_steps", 5,
                                   "final", 0.1));
    set(job, "checkpoint", json_pack("{s:i, s:i, s:i}", "every", 10, "keep_best", 0,
                                     "keep_latest", 5));
    return job;
}

/* Twenty steps at once, and again from the checkpoint after ten as if it had been killed. */
START_TEST(resuming_changes_no_bit)
{
    json_t *job = resumable(_i == 0 ? RIG_CLASSES : RIG_TOKENS);
    char *last = path_in("checkpoints/step-00000020");
    size_t before_len, after_len;
    must_train(job);
    char *before = bytes_of("result/model.safetensors", &before_len);
    ck_assert_int_eq(rwf_fs_rmtree(last, NULL), 0);
    must_train(job);
    char *after = bytes_of("result/model.safetensors", &after_len);
    ck_assert_uint_eq(before_len, after_len);
    ck_assert_int_eq(memcmp(before, after, after_len), 0);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_uint_eq(json_array_size(lines), 20); /* none twice */
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq((int)number(lines, i, "step"), i + 1);
    json_decref(lines);
    free(before);
    free(after);
    free(last);
    json_decref(job);
}
END_TEST

static void *stop_soon(void *ctx)
{
    char *path = path_in("checkpoints/metrics.jsonl");
    struct stat st = { 0 };
    for (int i = 0; i < 60000 && st.st_size == 0; i++) {
        usleep(5000);
        if (stat(path, &st) != 0)
            st.st_size = 0;
    }
    free(path);
    kill(getpid(), *(int *)ctx);
    return NULL;
}

START_TEST(a_signal_ends_it_with_a_checkpoint)
{
    json_t *job = rig_job(scratch, RIG_CLASSES, 400);
    struct rwf_err err = RWF_ERR_INIT;
    int number_of_signal = _i == 0 ? SIGTERM : SIGUSR1;
    pthread_t thread;
    json_t *state = NULL;
    char *path = NULL, *folder = path_in("checkpoints");
    set(job, "steps", json_integer(100000000));
    pthread_create(&thread, NULL, stop_soon, &number_of_signal);
    ck_assert_int_eq(train(job, &err), -1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(err.code, RWF_E_STOPPED);
    ck_assert_msg(strstr(err.text, "with a checkpoint") != NULL, "%s", err.text);
    ck_assert_int_eq(checkpoint_find(folder, NULL, NULL, &path, &state, &err), 0);
    ck_assert_ptr_nonnull(path);
    json_int_t step = json_integer_value(json_object_get(state, "step"));
    ck_assert(step > 0);
    set(job, "steps", json_integer(step + 5));
    must_train(job);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert(number(lines, -1, "step") == (double)step + 5);
    json_decref(lines);
    json_decref(state);
    free(path);
    free(folder);
    json_decref(job);
}
END_TEST

START_TEST(what_is_finished_is_only_exported_again)
{
    json_t *job = rig_job(scratch, RIG_CLASSES, 64);
    char *result = path_in("result");
    must_train(job);
    ck_assert_int_eq(rwf_fs_rmtree(result, NULL), 0);
    must_train(job);
    ck_assert(rwf_fs_exists(result));
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_uint_eq(json_array_size(lines), 20);
    json_decref(lines);
    free(result);
    json_decref(job);
}
END_TEST

/* A rate of 0 gets nothing better after the first evaluation. */
START_TEST(stops_early_and_exports_the_best)
{
    json_t *job = rig_job(scratch, RIG_CLASSES, 64);
    json_object_set_new(json_object_get(job, "optimizer"), "learning_rate", json_real(0));
    json_object_set_new(json_object_get(job, "evaluate"), "every", json_integer(2));
    set(job, "steps", json_integer(1000));
    set(job, "early_stopping", json_pack("{s:s, s:s, s:i, s:f}", "metric", "val_loss", "mode",
                                         "min", "patience", 3, "min_delta", 0.0));
    char *text = output_of(job);
    ck_assert_msg(strstr(text, "after 8 steps") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "at step 2; stopped early") != NULL, "%s", text);
    free(text);
    /* Started once more, it knows. */
    must_train(job);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_uint_eq(json_array_size(lines), 8);
    json_decref(lines);
    json_decref(job);
}
END_TEST

/* --- devices whose memory is not the host's --- */

static void train_late(const json_t *job)
{
    struct device d;
    struct comm c;
    struct rwf_err err = RWF_ERR_INIT;
    late_device_open(&d);
    comm_alone(&c, &d);
    ck_assert_msg(train_loop(job, &d, &c, &err) == 0, "%s", err.text);
    comm_close(&c);
    device_close(&d);
    ck_assert_int_eq(late_device_faults(), 0);
}

/* Nothing is read before it has come, and nothing changed before it was sent. */
START_TEST(a_device_of_its_own_trains_to_the_same_bits)
{
    static const enum rig_kind kinds[] = { RIG_CLASSES, RIG_VALUES, RIG_TOKENS };
    json_t *job = rig_job(scratch, kinds[_i], _i == 2 ? 2000 : 200);
    char *checkpoints = path_in("checkpoints");
    size_t before_len, after_len;
    set(job, "clip", json_real(0.5));
    set(job, "micro_batch_size", json_integer(3));
    if (_i == 2)
        set(job, "precision", json_string("bf16"));
    json_object_set_new(json_object_get(job, "evaluate"), "every", json_integer(7));
    json_object_set_new(json_object_get(job, "checkpoint"), "every", json_integer(5));
    set(job, "sample", json_pack("{s:[s], s:i}", "prompts", "a dog ", "tokens", 4));
    must_train(job);
    char *before = bytes_of("result/model.safetensors", &before_len);
    json_t *lines = lines_of("work/metrics.jsonl");
    ck_assert_int_eq(rwf_fs_rmtree(checkpoints, NULL), 0);
    train_late(job);
    char *after = bytes_of("result/model.safetensors", &after_len);
    json_t *late = lines_of("work/metrics.jsonl");
    ck_assert_uint_eq(before_len, after_len);
    ck_assert_int_eq(memcmp(before, after, after_len), 0);
    ck_assert_uint_eq(json_array_size(lines), json_array_size(late));
    for (int i = 0; i < (int)json_array_size(lines); i++)
        ck_assert(number(lines, i, "loss") == number(late, i, "loss"));
    ck_assert(number(lines, -1, "val_loss") == number(late, -1, "val_loss"));
    json_decref(lines);
    json_decref(late);
    free(before);
    free(after);
    free(checkpoints);
    json_decref(job);
}
END_TEST

/* --- failures --- */

static const struct {
    const char *key, *value; /* JSON */
    int code;
    const char *says;
} failures[] = {
    { "optimizer", "{\"type\": \"sgd\", \"learning_rate\": 1e39}", RWF_E_FAILED,
      "the loss of step 2 is not finite (NaN or infinite), and so are the weights of layers.0" },
    { "optimizer", "{\"type\": \"rmsprop\"}", RWF_E_RECIPE, "'rmsprop' is not known" },
    { "schedule", "{\"type\": \"step\"}", RWF_E_RECIPE, "'step' is not known" },
    { "shard", "\"half\"", RWF_E_RECIPE, "'half' is not known" },
    { "precision", "\"fp8\"", RWF_E_RECIPE, "'fp8' is not known: fp32 or bf16" },
    { "steps", "0", RWF_E_BUG, "'steps' is not at least 1" },
    { "data", "\"/nowhere\"", -1, "/nowhere/data.json" },
    { "from", "\"/nowhere.safetensors\"", -1, "/nowhere.safetensors" },
    { "config", "{\"model_type\": \"cnn\"}", RWF_E_INPUT, "'cnn'" },
    { "heartbeat", "\"/dev/null/x\"", -1, "/dev/null" },
    { "result", "null", RWF_E_BUG, "the job has no 'result'" },
};

START_TEST(failures_say_what_is_wrong)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *job = rig_job(scratch, RIG_CLASSES, 64);
    json_t *value = json_loads(failures[_i].value, JSON_DECODE_ANY, NULL);
    ck_assert_ptr_nonnull(value);
    set(job, failures[_i].key, value);
    ck_assert_int_eq(train(job, &err), -1);
    ck_assert_msg(strstr(err.text, failures[_i].says) != NULL, "%s", err.text);
    if (failures[_i].code >= 0)
        ck_assert_int_eq(err.code, failures[_i].code);
    json_decref(job);
}
END_TEST

/* --- parts --- */

START_TEST(a_report_that_nobody_reads_holds_nothing_up)
{
    char *fifo = path_in("fifo"), *file = path_in("metrics.jsonl");
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    int fd = open(fifo, O_RDONLY | O_NONBLOCK);
    struct metrics_options o = { .report = fifo, .file = file };
    struct metrics *m = metrics_open(&o, &err);
    json_t *values = json_pack("{s:f}", "loss", 1.5);
    char line[128] = "";
    ck_assert_ptr_nonnull(m);
    metrics_log(m, 7, values, 0.5);
    ck_assert_int_gt((int)read(fd, line, sizeof(line) - 1), 0);
    ck_assert_str_eq(line, "{\"step\":7,\"loss\":1.5,\"progress\":0.5}\n");
    close(fd);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 10000; i++) /* more than the FIFO holds */
        metrics_log(m, 8, values, 0.5);
    ck_assert_int_eq(metrics_close(m, &err), 0);
    json_decref(values);
    free(fifo);
    free(file);
}
END_TEST

START_TEST(rates_are_of_the_last_seconds)
{
    struct metrics_rate r = { 0 };
    ck_assert(metrics_rate_get(&r) == 0);
    metrics_rate_add(&r, 0, 0);
    ck_assert(metrics_rate_get(&r) == 0);
    for (int i = 1; i <= 1000; i++) /* 100 per second */
        metrics_rate_add(&r, i * 10 * RWF_NS_PER_MS, i);
    ck_assert_double_eq_tol(metrics_rate_get(&r), 100, 1e-6);
    for (int i = 1; i <= 600; i++) /* then 10 */
        metrics_rate_add(&r, (10000 + i * 100) * RWF_NS_PER_MS, 1000 + i);
    ck_assert_double_eq_tol(metrics_rate_get(&r), 10, 1e-6);
    metrics_rate_add(&r, (10000 + 120000) * RWF_NS_PER_MS, 2200);
    ck_assert_double_eq_tol(metrics_rate_get(&r), 10, 1e-6);
}
END_TEST

/* The file may not grow for a while, as on a full disk. */
START_TEST(lines_that_cannot_be_written_are_kept)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *file = path_in("metrics.jsonl");
    struct metrics_options o = { .file = file };
    struct metrics *m = metrics_open(&o, &err);
    json_t *values = json_pack("{s:f}", "loss", 1.5);
    struct rlimit before, small = { 30, RLIM_INFINITY };
    ck_assert_ptr_nonnull(m);
    metrics_log(m, 1, values, 0);
    metrics_flush(m);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &small);
    for (int step = 2; step <= 3; step++) {
        metrics_log(m, step, values, 0);
        metrics_flush(m);
    }
    setrlimit(RLIMIT_FSIZE, &before);
    json_t *lines = lines_of("metrics.jsonl");
    ck_assert_uint_eq(json_array_size(lines), 1); /* and no half one */
    json_decref(lines);
    ck_assert_int_eq(metrics_close(m, &err), 0);
    lines = lines_of("metrics.jsonl");
    ck_assert_uint_eq(json_array_size(lines), 3);
    for (int i = 0; i < 3; i++)
        ck_assert(number(lines, i, "step") == i + 1);
    json_decref(lines);
    json_decref(values);
    free(file);
}
END_TEST

static int64_t modified(const char *path)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_mtim.tv_sec * RWF_NS_PER_S + st.st_mtim.tv_nsec;
}

START_TEST(a_rank_that_hangs_stops_beating)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct heartbeat *h = heartbeat_open(scratch, 3, 10, &err);
    char *path = path_in("rank.3");
    ck_assert_ptr_nonnull(h);
    int64_t before = modified(path), waits = 0;
    while (modified(path) == before && waits++ < 60000) {
        heartbeat_alive(h);
        usleep(5000);
    }
    ck_assert(modified(path) > before);
    do { /* the last beat of what was counted is a little later, and no other */
        before = modified(path);
        usleep(150000);
    } while (modified(path) != before && waits++ < 60000);
    ck_assert(modified(path) == before);
    heartbeat_busy(h, true); /* until it does not hang, but a disk is slow */
    waits = 0;
    while (modified(path) - before < 50 * RWF_NS_PER_MS && waits++ < 60000)
        usleep(5000);
    ck_assert(modified(path) - before >= 50 * RWF_NS_PER_MS);
    heartbeat_busy(h, false);
    heartbeat_close(h);
    free(path);
}
END_TEST

static void make_scratch(void)
{
    char path[] = "/tmp/raywf-loop.XXXXXX";
    scratch = rwf_xstrdup(mkdtemp(path));
}

static void remove_scratch(void)
{
    rwf_fs_rmtree(scratch, NULL);
    free(scratch);
}

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("loop");
    TCase *t = tcase_create("loop");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, make_scratch, remove_scratch);
    tcase_add_test(t, rates_are_of_the_last_seconds);
    tcase_add_test(t, a_report_that_nobody_reads_holds_nothing_up);
    tcase_add_test(t, lines_that_cannot_be_written_are_kept);
    tcase_add_test(t, a_rank_that_hangs_stops_beating);
    tcase_add_test(t, the_loss_curve_is_pytorchs);
    tcase_add_test(t, classes_are_learned_and_reported);
    tcase_add_test(t, values_are_learned);
    tcase_add_test(t, each_target_has_a_mean_of_its_own);
    tcase_add_loop_test(t, a_language_is_learned_and_sampled, 0, 2);
    tcase_add_loop_test(t, an_adapter_is_trained_and_merged, 0, 2);
    tcase_add_loop_test(t, resuming_changes_no_bit, 0, 2);
    tcase_add_loop_test(t, a_device_of_its_own_trains_to_the_same_bits, 0, 3);
    tcase_add_loop_test(t, a_signal_ends_it_with_a_checkpoint, 0, 2);
    tcase_add_test(t, what_is_finished_is_only_exported_again);
    tcase_add_test(t, stops_early_and_exports_the_best);
    tcase_add_test(t, the_metrics_are_those_of_the_result);
    tcase_add_loop_test(t, failures_say_what_is_wrong, 0, RWF_COUNT(failures));
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
