/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's tensors in files, and where each goes: weights.c makes the list and checks
 * it against the files, weights_load.c carries the bytes over.
 */
#ifndef RWF_LLM_WEIGHTS_H
#define RWF_LLM_WEIGHTS_H
#include "llm/model_inside.h"
#include "tensor/safetensors.h"

/* One tensor of a file, or one module of AWQ (three tensors), and its place. */
struct llm_part {
    char name[96]; /* "model.norm.weight"; AWQ: "model.layers.0.mlp.up_proj" */
    void **to;     /* of a buffer that other parts may share */
    int64_t at;    /* plain: elements into it */
    int dims;
    int64_t shape[2];      /* plain: as in the file; AWQ: outputs, inputs */
    struct llm_linear *q4; /* NULL: plain */
    int64_t first;         /* AWQ: its row in *q4 */
    const struct safetensors_entry *plain, *weights, *zeros, *scales; /* NULL: random */
};

struct llm_parts {
    struct llm_part *items;
    size_t count, cap;
    struct block_row *rows; /* of the block on the device, in the order of its parts */
    size_t row_count, row_cap;
    int64_t bytes; /* on the device, for the progress */
};

/* All parts of a model; w: where they go, with layers (rwf_xcalloc'd here). d NULL:
 * packed sizes are estimated. */
void llm__parts_list(struct llm_parts *p, struct llm_weights *w,
                     const struct llm_config *c, enum kernel_type type,
                     struct device *d);
/* Finds every part in s, with its shape and type; what else is in s is refused. */
int llm__parts_bind(struct llm_parts *p, const struct safetensors *s,
                    const struct llm_config *c, struct rwf_err *err);
void llm__parts_free(struct llm_parts *p);

/* Invented weights deviate as those that models are begun with; AWQ's likewise: nibbles
 * are uniform (deviation 4.6), their zeros 8, the scale 0.0044 in half precision. */
#define LLM_INVENTED_DEVIATION 0.02f
#define LLM_INVENTED_ZERO 0x88
#define LLM_INVENTED_SCALE 0x1c80

/* Of a piece of a part that begins with that element. */
static inline uint64_t llm__part_seed(const struct llm_parts *all,
                                      const struct llm_part *p, int64_t first)
{
    return (uint64_t)(p - all->items + 1) << 32 ^ (uint64_t)first;
}

/* Fills to with values first .. first + count - 1 of e as type; e: a type of floats. */
void llm__convert(const struct safetensors_entry *e, int64_t first, int64_t count,
                  enum kernel_type type, void *to);
/* The same of nothing: normal values with this deviation, the same for a seed;
 * deviation 0: ones. */
void llm__invent(uint64_t seed, float deviation, int64_t count, enum kernel_type type,
                 void *to);
void llm__invent_words(uint64_t seed, int64_t count, uint32_t *to);
/* Reads with several threads and uploads as they go. */
int llm__parts_load(const struct llm_parts *p, const struct llm_model_options *o,
                    struct rwf_err *err);

#endif
