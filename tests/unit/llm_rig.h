/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of inference: a model of tests/data with what transformers says of it
 * (tests/data/llm/model.json), and sequences whose blocks lie scattered in the cache.
 */
#ifndef RWF_TESTS_LLM_RIG_H
#define RWF_TESTS_LLM_RIG_H
#include <jansson.h>
#include "llm/hf_config.h"
#include "llm/model.h"

#define RIG_LENGTH 128
#define RIG_BLOCKS (RIG_LENGTH / KERNEL_BLOCK)

struct llm_rig {
    struct device device;
    struct llm_config config;
    struct llm_model *m;
    json_t *golden;
    int32_t prompt[RIG_LENGTH];
    int prompt_count;
    int32_t greedy[RIG_LENGTH];
    int greedy_count;
    int next_block;
};

/* A text as it goes through the model. */
struct llm_text {
    int32_t ids[RIG_LENGTH];
    int count;    /* known */
    int computed; /* in the cache */
    int32_t blocks[RIG_BLOCKS];
};

/* A path below the sources' tests/data; the caller frees. */
char *llm_rig_path(const char *name);
/* A new empty folder; the caller frees. And away with it. */
char *llm_rig_folder(void);
void llm_rig_remove(char *folder);
/* JSON with ' for ". */
json_t *llm_rig_json(const char *text);
void llm_rig_write_json(const char *folder, const char *name, const json_t *v);
/* A new folder with a random model of such JSON (llm/random.h). */
char *llm_rig_random(const char *model, bool awq, int group, uint64_t seed);
/* folder/model.safetensors; the caller frees. */
char *llm_rig_weights(const char *folder);
/* Whatever golden is called: "qwen3-tied" of ../model, "awq", "yarn" (made of another
 * one), in float. Aborts the test on failure. */
void llm_rig_open(struct llm_rig *r, const char *name, const char *device);
/* A folder without golden, on a device: "cpu", "cuda", or "deferred" (llm_deferred.h).
 */
void llm_rig_open_folder(struct llm_rig *r, const char *folder, const char *device,
                         enum kernel_type type);
void llm_rig_close(struct llm_rig *r);
/* A new text of these ids, with blocks of its own. */
void llm_text_begin(struct llm_rig *r, struct llm_text *t, const int32_t *ids,
                    int count);
/* The next n tokens of t as a row, greedy; wanted when they are its last. */
struct llm_row llm_text_row(const struct llm_text *t, int n);
/* One step over all of texts: n[i] tokens of each; what is drawn is appended. */
void llm_texts_step(struct llm_rig *r, struct llm_text *const *texts, const int *n,
                    int count);
/* Until it has `length` ids: chunks of the prompt of that many, then one by one. */
void llm_text_run(struct llm_rig *r, struct llm_text *t, int chunk, int length);

#endif
