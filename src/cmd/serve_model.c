/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf serve MODEL: one model behind the OpenAI API. The options have vLLM's names, so
 * that what people know, and scripts that they have, work; those that ask for what is
 * not here are refused with what to do, those that ask for what always is are accepted.
 */
#include "config.h"

#include "cmd/serve.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "llm/server.h"

bool cmd_serve_is_model(const char *path)
{
    char *config = rwf_fs_join(path, "config.json");
    bool is = rwf_fs_is_file(config);

    free(config);
    return is;
}

/* --- values --- */

/* 8192, 8k, 8K, 1.5G: vLLM's way, small letters are thousands. False: it is none, or not above 0
 * and below most. */
static bool read_units(const char *text, double most, int64_t *ret)
{
    static const struct {
        char letter;
        double factor;
    } units[] = {{'k', 1e3},    {'K', 0x1p10}, {'m', 1e6},    {'M', 0x1p20}, {'g', 1e9},
                 {'G', 0x1p30}, {'t', 1e12},   {'T', 0x1p40}, {'\0', 1}};
    char *end;
    double x = strtod(text, &end);

    for (size_t i = 0; i < RWF_COUNT(units); i++)
        if (end != text && *end == units[i].letter && (!*end || !end[1]) &&
            x * units[i].factor >= 1 && x * units[i].factor < most) {
            *ret = (int64_t)(x * units[i].factor);
            return true;
        }
    return false;
}

int cmd_serve_length(const char *text, int64_t *ret, struct rwf_err *err)
{
    *ret = -1;
    if (strcmp(text, "auto") == 0 || strcmp(text, "-1") == 0 || read_units(text, 2e9, ret))
        return 0;
    return rwf_fail(err, RWF_E_USAGE,
                    "--max-model-len %s: a number of tokens, such as 8192, 8k or auto",
                    text);
}

int cmd_serve_amount(const char *what, const char *text, int64_t *ret, struct rwf_err *err)
{
    struct rwf_err none = RWF_ERR_INIT;

    if (read_units(text, 1e18, ret) || (rwf_size_parse(text, ret, &none) == 0 && *ret > 0))
        return 0;
    return rwf_fail(err, RWF_E_USAGE, "%s %s: at least 1, such as 4096, 4k (thousands), 4K or 4KiB",
                    what, text);
}

static int read_share(const char *text, double *ret, struct rwf_err *err)
{
    char *end;

    *ret = strtod(text, &end);
    if (end == text || *end != '\0' || !(*ret > 0 && *ret <= 1))
        return rwf_fail(err, RWF_E_USAGE,
                        "--gpu-memory-utilization %s: a share above 0 and at most 1",
                        text);
    return 0;
}

/* Options whose value must be one of those that are here anyway. */
static const struct {
    const char *name, *allowed[4], *why;
} fixed[] = {
    {"tensor-parallel-size",
     {"1"},
     "a model on several GPUs comes with a later version"},
    {"tp", {"1"}, "a model on several GPUs comes with a later version"},
    {"pp", {"1"}, "a model on several GPUs comes with a later version"},
    {"pipeline-parallel-size",
     {"1"},
     "a model on several GPUs comes with a later version"},
    {"distributed-executor-backend",
     {"mp", "uni", "ray", "external_launcher"},
     "raywf has a launcher of its own"},
    {"block-size", {"16"}, "blocks of the KV cache have 16 tokens"},
    {"kv-cache-dtype",
     {"auto", "bfloat16"},
     "the KV cache has the type of the activations"},
    {"quantization", {"auto", "awq", "awq_marlin"}, "AWQ is what can be read"},
    {"reasoning-parser", {"qwen3", "none"}, "Qwen3's tags are what is known"},
    {"tool-call-parser", {"hermes", "none"}, "the Hermes format is what is known"},
};

static int check_fixed(const struct cmd_call *call, struct rwf_err *err)
{
    for (size_t i = 0; i < RWF_COUNT(fixed); i++) {
        const char *given = cmd_text(call, fixed[i].name, NULL);
        bool allowed = given == NULL;
        for (int k = 0; k < 4 && fixed[i].allowed[k] != NULL; k++)
            allowed = allowed || strcmp(fixed[i].allowed[k], given) == 0;
        if (!allowed)
            return rwf_fail(err, RWF_E_USAGE, "--%s %s: %s", fixed[i].name, given,
                            fixed[i].why);
    }
    return 0;
}

static bool is_none(const struct cmd_call *call, const char *name)
{
    return strcmp(cmd_text(call, name, ""), "none") == 0;
}

/* --- keys: by a file or the environment, so that no list of processes shows them ---
 */

static const char **read_keys(const struct cmd_call *call, char **ret_text,
                              struct rwf_err *err)
{
    const char *file = cmd_text(call, "api-key-file", NULL),
               *given = getenv("RAYWF_API_KEY");
    const char **keys;
    size_t count = 0, len;
    char *at, *line;

    given = given != NULL ? given : getenv("VLLM_API_KEY");
    if (cmd_given(call, "api-key"))
        rwf_log(
            RWF_LOG_WARN, "serve",
            "--api-key shows the key in lists of processes: --api-key-file does not");
    given = cmd_text(call, "api-key", given);
    *ret_text = file != NULL    ? rwf_fs_read(file, 65536, &len, err)
                : given != NULL ? rwf_xstrdup(given)
                                : rwf_xstrdup("");
    if (*ret_text == NULL)
        return NULL;
    keys = rwf_xcalloc(strlen(*ret_text) / 2 + 2, sizeof(*keys));
    for (at = *ret_text; (line = strsep(&at, " \t\r\n")) != NULL;)
        if (*line != '\0')
            keys[count++] = line;
    if (count == 0 && file != NULL) { /* never open by mistake */
        rwf_fail(err, RWF_E_INPUT, "%s: no key is in it", file);
        free(keys);
        return NULL;
    }
    return keys;
}

/* --- the command --- */

static int check_counts(const struct cmd_call *call, struct rwf_err *err)
{
    int64_t port = cmd_count(call, "port", 0);

    if (port > 65535)
        return rwf_fail(err, RWF_E_USAGE, "--port %lld: at most 65535",
                        (long long)port);
    if (cmd_count(call, "max-num-seqs", 1) == 0)
        return rwf_fail(err, RWF_E_USAGE, "--max-num-seqs 0: at least 1");
    return 0;
}

static int read_options(const struct cmd_call *call, struct llm_server_options *o,
                        struct rwf_err *err)
{
    const char *length = cmd_text(call, "max-model-len", NULL);
    const char *share = cmd_text(call, "gpu-memory-utilization", NULL);
    const char *bytes = cmd_text(call, "kv-cache-memory-bytes", NULL);
    const char *step = cmd_text(call, "max-num-batched-tokens", NULL);
    int64_t tokens = 0;

    *o = (struct llm_server_options){
        .folder = call->operands[0],
        .host = cmd_text(call, "host", NULL),
        .port = (int)cmd_count(call, "port", 8000),
        .unix_path = cmd_text(call, "uds", NULL),
        .tls_cert = cmd_text(call, "ssl-certfile", NULL),
        .tls_key = cmd_text(call, "ssl-keyfile", NULL),
        .access_log = cmd_text(call, "access-log", NULL),
        .template_ = cmd_text(call, "chat-template", NULL),
        .no_reasoning = is_none(call, "reasoning-parser"),
        .no_tools = is_none(call, "tool-call-parser"),
        .escape_special = cmd_given(call, "escape-special-tokens"),
        .device = cmd_text(call, "device", "auto"),
        .threads = (int)cmd_count(call, "threads", 0),
        .type = cmd_text(call, "dtype", "auto"),
        .max_sequences = (int)cmd_count(call, "max-num-seqs", 0),
        .seeded = cmd_given(call, "seed"),
        .seed = cmd_count(call, "seed", 0),
        .dummy = strcmp(cmd_text(call, "load-format", "auto"), "dummy") == 0,
        .eager = cmd_given(call, "enforce-eager"),
        .no_prefix_cache = cmd_given(call, "no-enable-prefix-caching"),
        .quiet = call->quiet,
        .drain = cmd_duration(call, "drain", 0),
    };
    if ((length != NULL && cmd_serve_length(length, &o->max_length, err) != 0) ||
        (share != NULL && read_share(share, &o->memory_share, err) != 0) ||
        (bytes != NULL &&
         cmd_serve_amount("--kv-cache-memory-bytes", bytes, &o->cache_bytes, err) != 0) ||
        (step != NULL &&
         cmd_serve_amount("--max-num-batched-tokens", step, &tokens, err) != 0) ||
        check_counts(call, err) != 0)
        return -1;
    o->max_tokens = tokens < INT32_MAX ? (int)tokens : INT32_MAX;
    return check_fixed(call, err);
}

/* All values of an option, with a NULL behind them; the array is the caller's. */
static const char **all_values(const struct cmd_call *call, const char *name)
{
    size_t count;
    const char **values = cmd_list(call, name, &count);
    const char **all = rwf_xcalloc(count + 1, sizeof(*all));

    for (size_t i = 0; i < count; i++)
        all[i] = values[i];
    free(values);
    return all;
}

int cmd_serve_model(struct cmd_call *call, struct rwf_err *err)
{
    struct llm_server_options o;
    char *text = NULL;
    int rc = -1;

    if (read_options(call, &o, err) != 0)
        return -1;
    const char **keys = read_keys(call, &text, err);
    o.names = all_values(call, "served-model-name");
    o.cors_origins = all_values(call, "allowed-origins");
    o.api_keys = keys;
    if (keys != NULL)
        rc = llm_server_run(&o, err);
    free((void *)(uintptr_t)o.names);
    free((void *)(uintptr_t)o.cors_origins);
    free(keys);
    free(text);
    return rc;
}
