/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes that have names.
 * Sources: the config.json of openai-community/gpt2* and of Qwen/Qwen3-*.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"
#include "model/inside.h"

#define GPT2(n, l, h, a)                                                               \
    {                                                                                  \
        .name = "gpt2-" n, .family = "gpt2", .layers = l, .hidden = h, .heads = a,     \
        .context = 1024, .vocab = 50257, .epsilon = 1e-5, .tied = true                 \
    }
#define QWEN3(n, h, l, a, i, tie)                                                      \
    {                                                                                  \
        .name = "qwen3-" n, .family = "qwen3", .layers = l, .hidden = h, .heads = a,   \
        .kv_heads = 8, .head_dim = 128, .inner = i, .context = 40960, .vocab = 151936, \
        .theta = 1e6, .epsilon = 1e-6, .tied = tie                                     \
    }

static const struct sizes presets[] = {
    GPT2("124m", 12, 768, 12),
    GPT2("355m", 24, 1024, 16),
    GPT2("774m", 36, 1280, 20),
    GPT2("1.5b", 48, 1600, 25),
    QWEN3("0.6b", 1024, 28, 16, 3072, true),
    QWEN3("1.7b", 2048, 28, 16, 6144, true),
    QWEN3("4b", 2560, 36, 32, 9728, true),
    QWEN3("8b", 4096, 36, 32, 12288, false),
    QWEN3("14b", 5120, 40, 40, 17408, false),
    QWEN3("32b", 5120, 64, 64, 25600, false),
};

const struct sizes *model__preset(const char *name, struct rwf_err *err)
{
    const char *names[RWF_COUNT(presets)];
    for (size_t i = 0; i < RWF_COUNT(presets); i++) {
        names[i] = presets[i].name;
        if (strcmp(name, names[i]) == 0)
            return &presets[i];
    }
    char *choices = rwf_suggest_choices(name, names, RWF_COUNT(names));
    rwf_fail(err, RWF_E_RECIPE, "model: there is no preset '%s'; %s", name, choices);
    free(choices);
    return NULL;
}
