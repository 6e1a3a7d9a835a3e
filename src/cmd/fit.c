/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf fit: does a model fit into a device, and what would it do there? Nothing is
 * loaded: a folder's config.json, or the name of a preset, is enough. Of a recipe: what
 * it serves.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "cmd/fit.h"
#include "cmd/on_cluster.h"
#include "cmd/serve.h"
#include "llm/fit.h"
#include "node/gpu.h"

#define CPU_FLOPS 100e9 /* of a core, bf16: a guess on the low side */

/* --- which device --- */

static int real(const struct cmd_call *call, const char *name, double *ret,
                struct rwf_err *err)
{
    const char *text = cmd_text(call, name, NULL);
    char *end;

    if (text == NULL)
        return 0;
    *ret = strtod(text, &end);
    if (end == text || *end != '\0' || *ret <= 0)
        return rwf_fail(err, RWF_E_USAGE, "--%s %s: a number above 0", name, text);
    return 0;
}

static int named_gpu(const char *name, struct fit_ask *a, struct rwf_err *err)
{
    const struct fit_gpu *g = fit_gpu_find(name);
    struct rwf_str names = {NULL, 0, 0};
    size_t count;

    if (g != NULL) {
        a->ask.device = g->name;
        a->ask.total = a->ask.free = g->memory;
        a->bandwidth = g->bandwidth;
        a->flops = g->flops;
        return 0;
    }
    g = fit_gpus(&count);
    for (size_t i = 0; i < count; i++)
        rwf_str_addf(&names, "%s%s", i > 0 ? ", " : "", g[i].name);
    rwf_fail(err, RWF_E_USAGE,
             "--gpu %s is not known (%s): say --memory and --bandwidth instead", name,
             names.data);
    rwf_str_free(&names);
    return -1;
}

static void own_gpu(const struct node_gpu *g, struct fit_ask *a)
{
    const struct fit_gpu *known = fit_gpu_find(g->name);

    a->ask.device = g->name;
    a->ask.total = a->ask.free = g->memory;
    a->bandwidth = known == NULL ? 0 : known->bandwidth;
    a->flops = known == NULL ? 0 : known->flops;
}

static void own_cpu(struct fit_ask *a)
{
    int64_t page = sysconf(_SC_PAGESIZE);

    a->ask.host = true;
    a->ask.device = "this machine's CPU";
    a->ask.total = sysconf(_SC_PHYS_PAGES) * page;
    a->ask.free = sysconf(_SC_AVPHYS_PAGES) * page;
    a->bandwidth = fit_host_bandwidth();
    a->flops = CPU_FLOPS * (double)sysconf(_SC_NPROCESSORS_ONLN);
}

/* How fast the memory of another machine's processor is nobody knows here. */
static void device_there(const struct fit_there *t, struct fit_ask *a)
{
    const struct fit_gpu *known = t->host ? NULL : fit_gpu_find(t->gpu);

    a->ask.host = t->host;
    a->ask.device = t->device;
    a->ask.total = a->ask.free = t->memory;
    a->bandwidth = known == NULL ? 0 : known->bandwidth;
    a->flops = known != NULL ? known->flops : t->host ? CPU_FLOPS * t->cores : 0;
}

static int choose_device(const struct cmd_call *call, const struct fit_there *there,
                         struct fit_ask *a, struct rwf_err *err)
{
    const char *gpu = cmd_text(call, "gpu", NULL),
               *memory = cmd_text(call, "memory", NULL);
    const struct node_gpu *own;

    if (gpu != NULL && named_gpu(gpu, a, err) != 0)
        return -1;
    if (gpu == NULL && memory != NULL)
        a->ask.device = "a device";
    else if (gpu == NULL && there != NULL && there->device != NULL)
        device_there(there, a);
    else if (gpu == NULL && !cmd_given(call, "cpu") && node_gpus(&own) > 0)
        own_gpu(&own[0], a);
    else if (gpu == NULL)
        own_cpu(a);
    if (memory != NULL && rwf_size_parse(memory, &a->ask.total, err) != 0)
        return rwf_wrap(err, "--memory %s", memory);
    if (memory != NULL)
        a->ask.free = a->ask.total;
    a->bandwidth *= 1e-9;
    if (real(call, "bandwidth", &a->bandwidth, err) != 0)
        return -1;
    a->bandwidth *= 1e9;
    return 0;
}

/* --- the question --- */

static int read_model(const struct cmd_call *call, const char *model,
                      struct llm_config *c, struct rwf_err *err)
{
    if (!cmd_serve_is_model(model) && rwf_fs_exists(model))
        return rwf_fail(err, RWF_E_INPUT,
                        "%s: no config.json is in it, so it is no model", model);
    if (strchr(model, '/') != NULL && !rwf_fs_exists(model))
        return rwf_fail(err, RWF_E_INPUT,
                        "there is no folder '%s' (a size alone has a name, such as qwen3-14b)", model);
    if (rwf_starts_with(model, "gpt2"))
        return rwf_fail(err, RWF_E_INPUT, "%s: Qwen3 is what can be served", model);
    if (cmd_serve_is_model(model) ? llm_config_read(model, c, err) != 0
                                  : llm_config_preset(model, c, err) != 0)
        return -1;
    if (cmd_given(call, "awq") && c->bits == 0) {
        c->bits = 4;
        c->group = 128;
    }
    return 0;
}

/* What the command line says; 0 and "": nothing. */
static int read_flags(const struct cmd_call *call, struct fit_flags *f,
                      struct rwf_err *err)
{
    *f = (struct fit_flags){
        .sequences = cmd_count(call, "max-num-seqs", 0),
    };
    const char *step = cmd_text(call, "max-num-batched-tokens", NULL);
    if (step != NULL && cmd_serve_amount("--max-num-batched-tokens", step, &f->tokens, err) != 0)
        return -1;
    snprintf(f->length, sizeof(f->length), "%s", cmd_text(call, "max-model-len", ""));
    return real(call, "gpu-memory-utilization", &f->share, err);
}

static int set_options(const struct cmd_call *call, const struct fit_flags *f,
                       struct fit_ask *a, struct rwf_err *err)
{
    struct llm_model_options *o = &a->ask.options;
    int64_t length = 0;

    if (f->length[0] != '\0' && cmd_serve_length(f->length, &length, err) != 0)
        return -1;
    if (f->sequences > 1 << 20 || f->tokens > 1 << 30 || length > 1 << 30)
        return rwf_fail(err, RWF_E_USAGE,
                        "max-num-seqs, max-num-batched-tokens or "
                        "max-model-len is beyond every device");
    o->type = a->ask.config->type;
    o->max_length = length > 0 ? (int)length : 0;
    a->find = cmd_given(call, "find") || length < 0;
    o->max_sequences = (int)f->sequences;
    o->max_tokens = (int)f->tokens;
    o->memory_share = f->share;
    o->cache_bytes = f->cache;
    llm_options_for(o, a->ask.host, a->ask.total);
    return llm_options_complete(o, a->ask.config, err);
}

int cmd_fit_one(const struct cmd_call *call, const char *name,
                struct llm_config *config, const struct fit_flags *flags,
                struct rwf_str *text, json_t **ret, struct rwf_err *err)
{
    struct fit_ask a = {.model = name, .ask = {.config = config}};
    struct fit f;

    if (choose_device(call, flags->there, &a, err) != 0 || set_options(call, flags, &a, err) != 0 ||
        fit_model(&a, &f, err) != 0)
        return -1;
    fit_text(&a, &f, text);
    *ret = fit_json(&a, &f);
    return f.status == FIT_TOO_TIGHT ? RWF_E_FIT - RWF_E_BASE : 0;
}

static int fit_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *model = call->operands[0];
    struct rwf_str text = {NULL, 0, 0};
    struct llm_config config;
    struct fit_flags flags;
    int code;

    if (read_flags(call, &flags, err) != 0)
        return -1;
    if (strcmp(model, "-") == 0 || rwf_fs_is_file(model))
        code = cmd_fit_recipe(call, model, &flags, &text, err);
    else if (cmd_refuse(call, "address", "without a recipe", err) != 0 ||
             cmd_refuse(call, "key", "without a recipe", err) != 0)
        code = -1;
    else
        code = read_model(call, model, &config, err) != 0
                   ? -1
                   : cmd_fit_one(call, model, &config, &flags, &text, &call->data, err);
    if (code >= 0 && !call->json && text.len > 0)
        fputs(text.data, stdout);
    rwf_str_free(&text);
    return code;
}

static const struct cmd_option options[] = {
    {"gpu", 0, CMD_TEXT, "NAME", false, "this machine's",
     "one that is not here: H200, H100, A100, L40S, \"RTX 4090\" …"},
    {"memory", 0, CMD_TEXT, "SIZE", false, NULL,
     "of a device that has no name here: 24GiB"},
    {"bandwidth", 0, CMD_TEXT, "GB/S", false, NULL,
     "of its memory, for the expected speed"},
    {"cpu", 0, CMD_FLAG, NULL, false, NULL, "the CPU, though there is a GPU"},
    {"awq", 0, CMD_FLAG, NULL, false, NULL, "as if quantised to 4 bits"},
    {"find", 0, CMD_FLAG, NULL, false, NULL, "the longest context that fits"},
    {"max-model-len", 0, CMD_TEXT, "TOKENS", false, "the model's",
     "context; 8192, 8k, auto"},
    {"max-num-seqs", 0, CMD_COUNT, "N", false, "256, large GPU: 512, CPU: 32",
     "requests in a step"},
    {"max-num-batched-tokens", 0, CMD_TEXT, "N", false,
     "2048, large GPU: 8192, CPU: 512", "tokens in a step"},
    {"gpu-memory-utilization", 0, CMD_TEXT, "SHARE", false, "0.9",
     "of the device's memory"},
    CMD_AT_CLUSTER_OPTIONS,
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_fit = {
    .name = "fit",
    .group = CMD_WRITE,
    .summary = "tell whether a model fits, part by part, and how fast it may be",
    .details =
        "MODEL is a folder of Hugging Face's layout, or a preset (qwen3-0.6b … "
        "qwen3-32b). "
        "The memory is what serve MODEL would allocate; the speed is what its bytes "
        "and "
        "the device's bandwidth allow, with what kernels reach taken off. Of a recipe, "
        "each "
        "deployment of `serve` with api: openai is looked at, with the flags of its "
        "`engine`, which go before those given here. Without --gpu and --memory, and where a "
        "cluster is named (as for raywf run), the best device that it has now is taken.",
    .examples =
        "raywf fit ./Qwen3-14B\nraywf fit qwen3-32b --awq --gpu \"RTX 4090\" --find\n"
        "raywf fit recipe.yaml --gpu H100",
    .exits = "0 2 3 5 6",
    .operands = {{"MODEL|RECIPE", CMD_FILE, 1, 1}},
    .options = options,
    .run = fit_run,
};
