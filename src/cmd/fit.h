/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf fit, as its two files share it.
 */
#ifndef RWF_CMD_FIT_H
#define RWF_CMD_FIT_H
#include "base/str.h"
#include "cmd/cmd.h"
#include "llm/model.h"
#include "recipe/recipe.h"

/* The device of a cluster that a model is to go on. */
struct fit_there {
    char *device; /* shown; NULL: none, this machine */
    char *gpu;    /* its name; NULL: a processor */
    int64_t memory;
    double cores;
    bool host; /* a processor */
};
/* Asks the cluster that the call or the recipe names. Why it is none although one is named
 * is said. */
int cmd_fit_there(struct cmd_call *call, const struct recipe *r, struct fit_there *ret,
                  struct rwf_err *err);
void cmd_fit_there_free(struct fit_there *t);

/* vLLM's flags that memory depends on; 0 and "": not given. */
struct fit_flags {
    char length[32]; /* max_model_len: 8192, 8k, auto */
    int64_t sequences, tokens, cache;
    double share;
    const struct fit_there *there; /* NULL: this machine */
};

/* One model on the device that the call names, else on that of flags: added to text, and as JSON. The exit code (5: it
 * does not fit), or -1. */
int cmd_fit_one(const struct cmd_call *call, const char *name, struct llm_config *config,
                const struct fit_flags *flags, struct rwf_str *text, json_t **ret,
                struct rwf_err *err);
/* Every deployment with api: openai of a recipe. */
int cmd_fit_recipe(struct cmd_call *call, const char *path, const struct fit_flags *flags,
                   struct rwf_str *text, struct rwf_err *err);

#endif
