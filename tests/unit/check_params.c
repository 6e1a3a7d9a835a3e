/* SPDX-License-Identifier: Apache-2.0
 *
 * Parameters of a small model of our own making, whole and divided between ranks (threads
 * that share memory, as processes do): every division must train to the same weights.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "tensor/comm_shared.h"
#include "tensor/safetensors.h"
#include "train/params.h"
#include "train/params_impl.h"
#include "train/schedule.h"

enum { RANKS_MAX = 3, STEPS = 3, MICROS = 2 };

/* Unit 0 is used at both ends of a pass, as tied embeddings are; unit 2 is frozen. */
static const struct model_param param_table[] = {
    { "embed", 2, { 50, 7 }, 0, 0, true, MODEL_NORMAL, 0.5f },
    { "layer.weight", 2, { 9, 20 }, 1, 0, true, MODEL_UNIFORM, 0.3f },
    { "layer.bias", 1, { 20, 1 }, 1, 192, false, MODEL_ZERO, 0 },
    { "base", 1, { 130, 1 }, 2, 0, false, MODEL_NORMAL, 1 },
    { "base.lora_A", 1, { 100, 1 }, 3, 0, true, MODEL_ONE, 0 },
    { "head", 1, { 3, 1 }, 4, 0, false, MODEL_NORMAL, 1 },
};
static const struct model_unit unit_table[] = {
    { "embed", 384, false }, { "layer", 256, false }, { "base", 192, true },
    { "base.adapter", 128, false }, { "head", 64, false },
};
static const struct model_layout layout = {
    .params = param_table, .param_count = RWF_COUNT(param_table),
    .units = unit_table,   .unit_count = RWF_COUNT(unit_table),
    .parameters = 784,     .trainable = 654,
};

struct trained {
    float weights[RWF_COUNT(param_table)][400];
};

struct run {
    int rank, size;
    enum params_shard shard;
    enum kernel_type type;
    enum kernel_optimizer optimizer;
    double clip;
    bool empty; /* the last rank has no rows in the last micro batch */
    const char *from, *folder; /* resume */
    struct trained *result;    /* of rank 0 */
    float squares;
    int rc;
    struct rwf_err err;
    pthread_t thread;
};

static void *segments[RANKS_MAX], *regions[2][RANKS_MAX];
static __thread int regions_taken, own_rank;
static char *scratch;

/* --- a group of threads --- */

enum { REGION = 1 << 20 };

static void *take_region(void *ctx, int64_t bytes)
{
    int i = regions_taken++;
    ck_assert_int_le(bytes, REGION);
    shared_add_region(ctx, regions[i], bytes);
    return regions[i][own_rank];
}

static const struct comm_ops threads = {
    .name = "threads", .sum = shared_sum, .scatter = shared_scatter,
    .gather = shared_gather, .broadcast = shared_broadcast, .wait = shared_wait,
    .memory = take_region,
};

/* --- a pass as a model makes one --- */

static int64_t elements(const struct model_param *m)
{
    return m->shape[0] * (m->dims > 1 ? m->shape[1] : 1);
}

static double weight_at(const void *w, int64_t i, enum kernel_type type)
{
    float v = ((const float *)w)[type == KERNEL_F32 ? i : 0];
    uint32_t bits = (uint32_t)((const uint16_t *)w)[i] << 16;
    if (type == KERNEL_BF16)
        memcpy(&v, &bits, sizeof(v));
    return (double)v;
}

/* The gradient of every value is a function of the value, the rank's share, and the step. */
static void add_grads(const struct model_store *s, int unit, double share, int step)
{
    enum kernel_type type = ((struct params *)s->ctx)->o.type;
    if (unit_table[unit].frozen)
        return;
    const void *w = s->weights(s->ctx, unit);
    float *g = s->grads(s->ctx, unit);
    for (size_t i = 0; i < layout.param_count; i++) {
        const struct model_param *m = &param_table[i];
        for (int64_t k = 0; m->unit == unit && k < elements(m); k++)
            g[m->offset + k] += (float)(share * (0.3 * weight_at(w, m->offset + k, type) +
                                                 sin((double)(k + step))));
    }
    s->release(s->ctx, unit);
}

static void pass(const struct model_store *s, double share, int step)
{
    int last = (int)layout.unit_count - 1;
    for (int u = 0; u <= last; u++) {
        ck_assert_ptr_nonnull(s->weights(s->ctx, u));
        s->release(s->ctx, u);
    }
    add_grads(s, 0, share, step); /* the tied head */
    for (int u = last; u > 0; u--) {
        add_grads(s, u, share, step);
        if (!unit_table[u].frozen)
            s->grads_done(s->ctx, u);
    }
    add_grads(s, 0, share, step);
    s->grads_done(s->ctx, 0);
}

static void empty_pass(struct run *r, struct params *p, int kind, int step)
{
    if (r->shard != PARAMS_FULL)
        return;
    params_begin_pass(p, kind | PARAMS_IGNORE);
    pass(params_store(p), 1000, step);
}

/* --- a training on one rank --- */

static struct optim optim_of(enum kernel_optimizer kind)
{
    return (struct optim){ .kind = kind, .rate = 0.01, .beta1 = 0.9f, .beta2 = 0.99f,
                           .epsilon = 1e-8f, .decay = 0.1f, .m = true,
                           .v = kind == KERNEL_ADAMW };
}

/* What a snapshot would write, as floats, of the masters where there are any. */
static void collect(struct params *p, struct trained *t)
{
    struct checkpoint_content c = { 0 };
    params_snapshot_content(p, &c);
    for (size_t i = 0; i < c.model_count; i++) {
        struct checkpoint_tensor *tensor = &c.model[i];
        char master[64];
        snprintf(master, sizeof(master), "%s.master", c.model[i].name);
        for (size_t k = 0; k < c.optimizer_count; k++)
            if (strcmp(c.optimizer[k].name, master) == 0)
                tensor = &c.optimizer[k];
        size_t n = (size_t)elements(&param_table[i]);
        ck_assert_str_eq(c.model[i].name, param_table[i].name);
        if (tensor->type == SAFETENSORS_F32)
            tensor->read(tensor->ctx, tensor, 0, n * 4, t->weights[i]);
    }
}

static int prepare(struct run *r, struct params *p, struct rwf_err *err)
{
    if (params_snapshot_prepare(p, err) != 0)
        return -1;
    return r->folder != NULL ? params_resume(p, r->folder, err)
           : r->from != NULL ? params_from(p, r->from, err)
                             : params_draw(p, err);
}

static int steps(struct run *r, struct params *p, int from, int to, struct rwf_err *err)
{
    for (int step = from; step < to; step++) {
        params_begin_step(p);
        params_extra(p)[0] = 1;
        for (int m = 0; m < MICROS; m++) {
            bool last = m + 1 == MICROS, empty = r->empty && last;
            int kind = last ? PARAMS_LAST : PARAMS_ADD;
            double sharers = empty ? r->size - 1 : r->size;
            if (empty && r->rank == r->size - 1) {
                empty_pass(r, p, kind, step);
                continue;
            }
            params_begin_pass(p, kind);
            pass(params_store(p), 1 / sharers / MICROS, step + m);
        }
        if (params_finish_step(p, 0.01, step + 1, err) != 0)
            return -1;
        ck_assert(params_extra(p)[0] == (float)r->size);
    }
    return 0;
}

static void *run_rank(void *ctx)
{
    struct run *r = ctx;
    struct device d;
    struct comm c = { .rank = r->rank, .size = r->size, .ops = &threads };
    struct params *p = NULL;
    own_rank = r->rank;
    r->rc = device_open(&d, "cpu", 0, 1, &r->err);
    if (r->size == 1)
        comm_alone(&c, &d);
    else
        c.ctx = shared_create(r->rank, r->size, segments);
    struct params_options o = {
        .device = &d, .comm = &c, .layout = &layout, .type = r->type, .shard = r->shard,
        .optim = optim_of(r->optimizer), .clip = r->clip, .seed = 7, .threads = 2,
        .extra = 2,
    };
    p = params_create(&o, &r->err);
    r->rc = p != NULL ? prepare(r, p, &r->err) : -1;
    if (r->rc == 0)
        r->rc = steps(r, p, r->folder != NULL ? STEPS : 0,
                      r->folder != NULL ? 2 * STEPS : STEPS, &r->err);
    if (r->rc == 0)
        r->rc = params_snapshot(p, &r->err);
    if (r->rc == 0) {
        params_snapshot_wait(p);
        ck_assert_ptr_null(params_not_finite(p));
        r->squares = *params_squares(p);
        if (r->rank == 0)
            collect(p, r->result);
    }
    params_destroy(p);
    if (r->size > 1)
        shared_destroy(c.ctx);
    device_close(&d);
    return NULL;
}

static void run_group(const struct run *like, struct trained *result)
{
    struct run runs[RANKS_MAX];
    for (int r = 0; r < like->size; r++)
        segments[r] = rwf_xcalloc(1, shared_segment_size());
    for (int r = 0; r < like->size; r++)
        for (int i = 0; i < 2; i++)
            regions[i][r] = rwf_xcalloc(1, REGION);
    for (int r = 0; r < like->size; r++) {
        runs[r] = *like;
        runs[r].rank = r;
        runs[r].result = result;
        pthread_create(&runs[r].thread, NULL, run_rank, &runs[r]);
    }
    for (int r = 0; r < like->size; r++)
        pthread_join(runs[r].thread, NULL);
    for (int r = 0; r < like->size; r++) {
        free(segments[r]);
        free(regions[0][r]);
        free(regions[1][r]);
        ck_assert_msg(runs[r].rc == 0, "rank %d: %s", r, runs[r].err.text);
    }
}

static void compare(const struct trained *a, const struct trained *b, float tolerance)
{
    for (size_t i = 0; i < layout.param_count; i++)
        for (int64_t k = 0; k < elements(&param_table[i]); k++)
            ck_assert_msg(fabsf(a->weights[i][k] - b->weights[i][k]) <= tolerance,
                          "%s[%lld]: %.9g and %.9g", param_table[i].name, (long long)k,
                          (double)a->weights[i][k], (double)b->weights[i][k]);
}

/* --- the tests --- */

static const struct {
    enum params_shard shard;
    int size;
    enum kernel_type type;
    enum kernel_optimizer optimizer;
    double clip;
    bool empty;
} divisions[] = {
    { PARAMS_NONE, 2, KERNEL_F32, KERNEL_ADAMW, 0, false },
    { PARAMS_NONE, 3, KERNEL_BF16, KERNEL_ADAMW, 0.5, true },
    { PARAMS_OPTIMIZER, 2, KERNEL_F32, KERNEL_ADAMW, 0.5, false },
    { PARAMS_OPTIMIZER, 3, KERNEL_F32, KERNEL_SGD, 0, true },
    { PARAMS_OPTIMIZER, 2, KERNEL_BF16, KERNEL_LION, 0, false },
    { PARAMS_OPTIMIZER, 3, KERNEL_BF16, KERNEL_ADAMW, 0.5, false },
    { PARAMS_FULL, 2, KERNEL_F32, KERNEL_ADAMW, 0, false },
    { PARAMS_FULL, 3, KERNEL_F32, KERNEL_ADAMW, 0.5, true },
    { PARAMS_FULL, 2, KERNEL_BF16, KERNEL_SGD, 0.5, true },
    { PARAMS_FULL, 3, KERNEL_BF16, KERNEL_ADAMW, 0, false },
};

/* A float of a sum in another order: 1e-6. Lion steps by signs, which agree. */
START_TEST(every_division_trains_to_the_same_weights)
{
    static struct trained alone, divided;
    struct run one = { .size = 1, .type = divisions[_i].type,
                       .optimizer = divisions[_i].optimizer, .clip = divisions[_i].clip };
    struct run many = one;
    many.size = divisions[_i].size;
    many.shard = divisions[_i].shard;
    many.empty = divisions[_i].empty;
    run_group(&one, &alone);
    run_group(&many, &divided);
    ck_assert(alone.weights[0][0] != 0);
    compare(&alone, &divided, divisions[_i].type == KERNEL_F32 ? 1e-6f : 2e-4f);
}
END_TEST

static void done(void *ctx, struct checkpoint_content *content)
{
    (void)ctx, (void)content;
}

static void write_folder(const char *folder, const struct run *like)
{
    struct device d;
    struct comm c;
    struct rwf_err err = RWF_ERR_INIT;
    struct run r = *like;
    ck_assert_int_eq(device_open(&d, "cpu", 0, 1, &err), 0);
    comm_alone(&c, &d);
    struct params_options o = { .device = &d, .comm = &c, .layout = &layout,
                                .type = r.type, .optim = optim_of(r.optimizer),
                                .clip = r.clip, .seed = 7, .threads = 1, .extra = 2 };
    struct params *p = params_create(&o, &err);
    ck_assert_int_eq(prepare(&r, p, &err), 0);
    r.size = 1;
    ck_assert_int_eq(steps(&r, p, 0, STEPS, &err), 0);
    ck_assert_int_eq(params_snapshot(p, &err), 0);
    params_snapshot_wait(p);
    struct checkpoints_options co = { .folder = folder, .keep_latest = 1 };
    struct checkpoints *cs = checkpoints_open(&co, &err);
    struct checkpoint_content content = { .state = json_pack("{s:i}", "step", STEPS) };
    json_t *config = json_object();
    content.config = config;
    params_snapshot_content(p, &content);
    ck_assert_int_eq(checkpoints_write(cs, STEPS, &content, done, NULL, &err), 0);
    ck_assert_int_eq(checkpoints_close(cs, &err), 0);
    json_decref(config);
    params_destroy(p);
    device_close(&d);
}

START_TEST(resumes_what_it_wrote_on_any_number_of_ranks)
{
    static struct trained straight, resumed;
    struct run r = { .size = 1, .type = _i == 0 ? KERNEL_F32 : KERNEL_BF16,
                     .optimizer = KERNEL_ADAMW, .clip = 0.5 };
    char *folder = rwf_fs_join(scratch, _i == 0 ? "f32" : "bf16");
    char *path = rwf_fs_join(folder, "step-00000003");
    write_folder(folder, &r);
    r.folder = path;
    run_group(&r, &straight);
    for (int size = 1; size <= RANKS_MAX; size++) {
        r.size = size;
        r.shard = (enum params_shard)(size - 1);
        run_group(&r, &resumed);
        compare(&straight, &resumed, size == 1 ? 0 : _i == 0 ? 1e-6f : 2e-4f);
    }
    free(path);
    free(folder);
}
END_TEST

/* --- files --- */

struct tensor {
    const char *name;
    int64_t rows, columns; /* columns 0: one dimension */
};

static char *write_file(const char *name, const struct tensor *tensors, size_t count)
{
    char *path = rwf_fs_join(scratch, name);
    struct rwf_err err = RWF_ERR_INIT;
    struct safetensors_writer *w = safetensors_create(path, NULL, &err);
    ck_assert_msg(w != NULL, "%s", err.text);
    for (size_t i = 0; i < count; i++) {
        int64_t shape[2] = { tensors[i].rows, tensors[i].columns };
        safetensors_declare(w, tensors[i].name, SAFETENSORS_F32,
                            tensors[i].columns > 0 ? 2 : 1, shape, &err);
    }
    for (size_t i = 0; i < count; i++) {
        int64_t columns = tensors[i].columns > 0 ? tensors[i].columns : 1;
        for (int64_t k = 0; k < tensors[i].rows * columns; k++) {
            float v = (float)k;
            ck_assert_int_eq(safetensors_write(w, &v, sizeof(v), &err), 0);
        }
    }
    ck_assert_int_eq(safetensors_finish(w, NULL, &err), 0);
    return path;
}

#define BODY { "layer.weight", 9, 20 }, { "layer.bias", 20, 0 }, { "base", 130, 0 }
static const struct {
    struct tensor tensors[8];
    size_t count;
    const char *says; /* NULL: it is taken */
} files[] = {
    { { { "embed", 50, 7 }, BODY, { "head", 3, 0 }, { "lm_head.weight", 1, 1 } }, 6, NULL },
    { { { "embed", 50, 7 }, BODY, { "base.lora_A", 100, 0 }, { "head", 3, 0 } }, 6, NULL },
    { { { "embed", 50, 7 }, BODY }, 4, "lacks 1 tensor of the model: head" },
    { { BODY }, 3, "lacks 2 tensors of the model: embed, head" },
    { { { "embed", 7, 50 }, BODY, { "head", 3, 0 } },
      5,
      "embed has the shape [7, 50], but the model's is [50, 7]" },
    { { { "embed", 50, 7 }, BODY, { "head", 3, 0 }, { "tail", 1, 0 } },
      6,
      "has 1 tensor that the model does not: tail" },
};

START_TEST(reads_weights_by_name_or_says_what_is_wrong)
{
    static struct trained got;
    struct device d;
    struct comm c;
    struct rwf_err err = RWF_ERR_INIT;
    char name[32];
    snprintf(name, sizeof(name), "from-%d.safetensors", _i);
    char *path = write_file(name, files[_i].tensors, files[_i].count);
    ck_assert_int_eq(device_open(&d, "cpu", 0, 1, &err), 0);
    comm_alone(&c, &d);
    struct params_options o = { .device = &d, .comm = &c, .layout = &layout,
                                .optim = optim_of(KERNEL_ADAMW), .extra = 2 };
    struct params *p = params_create(&o, &err);
    int rc = params_from(p, path, &err);
    if (files[_i].says != NULL) {
        ck_assert_int_eq(rc, -1);
        ck_assert_int_eq(err.code, RWF_E_INPUT);
        ck_assert_msg(strstr(err.text, files[_i].says) != NULL, "%s", err.text);
        ck_assert_msg(strstr(err.text, path) != NULL, "%s", err.text);
    } else {
        ck_assert_msg(rc == 0, "%s", err.text);
        ck_assert_int_eq(params_snapshot_prepare(p, &err), 0);
        ck_assert_int_eq(params_snapshot(p, &err), 0);
        params_snapshot_wait(p);
        collect(p, &got);
        ck_assert(got.weights[0][349] == 349 && got.weights[1][5] == 5);
        ck_assert(got.weights[4][3] == (_i == 0 ? 1 : 3)); /* drawn, or read */
    }
    params_destroy(p);
    device_close(&d);
    free(path);
}
END_TEST

START_TEST(draws_by_name_and_seed_alone)
{
    static struct trained a, b;
    struct run r = { .size = 1, .optimizer = KERNEL_ADAMW };
    double sum = 0, squares = 0;
    run_group(&r, &a);
    r.size = 3;
    r.shard = PARAMS_FULL;
    run_group(&r, &b);
    ck_assert(a.weights[3][0] == b.weights[3][0]);
    ck_assert_int_eq(memcmp(a.weights[3], b.weights[3], 130 * 4), 0); /* frozen: as drawn */
    for (int i = 0; i < 130; i++) {
        sum += (double)a.weights[3][i];
        squares += (double)a.weights[3][i] * (double)a.weights[3][i];
    }
    ck_assert(fabs(sum / 130) < 0.3 && fabs(squares / 130 - 1) < 0.4);
}
END_TEST

START_TEST(names_the_unit_that_is_not_finite)
{
    struct device d;
    struct comm c;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(device_open(&d, "cpu", 0, 1, &err), 0);
    comm_alone(&c, &d);
    struct params_options o = { .device = &d, .comm = &c, .layout = &layout,
                                .optim = optim_of(KERNEL_ADAMW), .extra = 2 };
    struct params *p = params_create(&o, &err);
    ck_assert_int_eq(params_draw(p, &err), 0);
    ck_assert_ptr_null(params_not_finite(p));
    p->units[1].grad[3] = NAN;
    ck_assert_str_eq(params_not_finite(p), "the gradients of layer");
    p->units[4].master[1] = INFINITY;
    ck_assert_str_eq(params_not_finite(p), "the weights of head");
    params_destroy(p);
    device_close(&d);
}
END_TEST

/* --- schedules --- */

static const struct {
    enum schedule_kind kind;
    int64_t warmup;
    double final;
    int64_t step;
    double rate;
} rates[] = {
    { SCHEDULE_CONSTANT, 0, 0, 0, 2 },      { SCHEDULE_CONSTANT, 4, 0, 0, 0.5 },
    { SCHEDULE_CONSTANT, 4, 0, 3, 2 },      { SCHEDULE_CONSTANT, 4, 0, 99, 2 },
    { SCHEDULE_LINEAR, 0, 0, 0, 2 },        { SCHEDULE_LINEAR, 0, 0, 50, 1 },
    { SCHEDULE_LINEAR, 0, 0.1, 100, 0.2 },  { SCHEDULE_LINEAR, 20, 0.5, 60, 1.5 },
    { SCHEDULE_COSINE, 0, 0, 0, 2 },        { SCHEDULE_COSINE, 0, 0, 50, 1 },
    { SCHEDULE_COSINE, 0, 0.1, 100, 0.2 },  { SCHEDULE_COSINE, 0, 0, 25, 1.7071067811865475 },
    { SCHEDULE_COSINE, 10, 0, 9, 2 },       { SCHEDULE_COSINE, 10, 0, 10, 2 },
    { SCHEDULE_COSINE, 0, 0.1, 200, 0.2 },  { SCHEDULE_LINEAR, 100, 0, 100, 2 },
};

START_TEST(rates_follow_the_schedule)
{
    struct schedule s = { .kind = rates[_i].kind, .rate = 2, .warmup = rates[_i].warmup,
                          .steps = 100, .final = rates[_i].final };
    ck_assert_double_eq_tol(schedule_rate(&s, rates[_i].step), rates[_i].rate, 1e-12);
}
END_TEST

START_TEST(settings_are_read_or_refused)
{
    struct schedule s;
    struct optim o;
    enum params_shard shard;
    struct rwf_err err = RWF_ERR_INIT;
    json_t *j = json_pack("{s:s, s:i, s:f}", "type", "cosine", "warmup_steps", 3, "final", 0.5);
    ck_assert_int_eq(schedule_parse(&s, j, 0.1, 10, &err), 0);
    ck_assert(s.kind == SCHEDULE_COSINE && s.warmup == 3 && s.final == 0.5);
    json_object_set_new(j, "type", json_string("step"));
    ck_assert_int_eq(schedule_parse(&s, j, 0.1, 10, &err), -1);
    ck_assert_str_eq(err.text,
                     "schedule.type 'step' is not known: constant, linear or cosine");
    ck_assert_int_eq(schedule_parse(&s, NULL, 0.1, 10, &err), 0);
    json_decref(j);
    j = json_pack("{s:s, s:f, s:f}", "type", "sgd", "learning_rate", 0.5, "momentum", 0.9);
    ck_assert_int_eq(optim_parse(&o, j, &err), 0);
    ck_assert(o.kind == KERNEL_SGD && o.m && !o.v && o.beta1 == 0.9f && o.rate == 0.5);
    json_object_set_new(j, "type", json_string("adam"));
    ck_assert_int_eq(optim_parse(&o, j, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_RECIPE);
    ck_assert_str_eq(err.text, "optimizer.type 'adam' is not known: sgd, adamw or lion");
    json_decref(j);
    ck_assert_int_eq(params_shard_parse(&shard, "full", &err), 0);
    ck_assert_int_eq(params_shard_parse(&shard, "half", &err), -1);
    ck_assert_str_eq(err.text, "shard 'half' is not known: none, optimizer or full");
}
END_TEST

static void make_scratch(void)
{
    char path[] = "/tmp/raywf-params.XXXXXX";
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
    Suite *s = suite_create("params");
    TCase *t = tcase_create("params");
    suite_add_tcase(s, t);
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, make_scratch, remove_scratch);
    tcase_add_loop_test(t, rates_follow_the_schedule, 0, RWF_COUNT(rates));
    tcase_add_test(t, settings_are_read_or_refused);
    tcase_add_test(t, draws_by_name_and_seed_alone);
    tcase_add_loop_test(t, reads_weights_by_name_or_says_what_is_wrong, 0, RWF_COUNT(files));
    tcase_add_test(t, names_the_unit_that_is_not_finite);
    tcase_add_loop_test(t, every_division_trains_to_the_same_weights, 0,
                        RWF_COUNT(divisions));
    tcase_add_loop_test(t, resumes_what_it_wrote_on_any_number_of_ranks, 0, 2);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
