/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm/random.h"
#include "llm_deferred.h"
#include "llm_rig.h"

char *llm_rig_path(const char *name)
{
    const char *top = getenv("srcdir");
    return rwf_xasprintf("%s/tests/data/%s", top != NULL ? top : "..", name);
}

char *llm_rig_folder(void)
{
    char *path = rwf_xstrdup("/tmp/rwf-llm-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}

void llm_rig_remove(char *folder)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(rwf_fs_rmtree(folder, &err) == 0, "%s", err.text);
    free(folder);
}

/* JSON with ' for ". */
json_t *llm_rig_json(const char *text)
{
    char *copy = rwf_xstrdup(text);
    for (char *c = copy; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *v = json_loads(copy, 0, NULL);
    ck_assert_msg(v != NULL, "%s", text);
    free(copy);
    return v;
}

void llm_rig_write_json(const char *folder, const char *name, const json_t *v)
{
    char *path = rwf_fs_join(folder, name);
    ck_assert_int_eq(json_dump_file(v, path, JSON_INDENT(1)), 0);
    free(path);
}

char *llm_rig_random(const char *model, bool awq, int group, uint64_t seed)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = llm_rig_folder();
    json_t *m = llm_rig_json(model);
    const struct llm_random o = {.model = m, .awq = awq, .group = group, .seed = seed};
    ck_assert_msg(llm_random_model(folder, &o, &err) == 0, "%s", err.text);
    json_decref(m);
    return folder;
}

char *llm_rig_weights(const char *folder)
{
    return rwf_fs_join(folder, "model.safetensors");
}

static void copy_file(const char *from, const char *folder, const char *name)
{
    struct rwf_err err = RWF_ERR_INIT;
    size_t len = 0;
    char *a = rwf_fs_join(from, name), *b = rwf_fs_join(folder, name);
    char *bytes = rwf_fs_read(a, 1 << 24, &len, &err);
    ck_assert_msg(bytes != NULL, "%s", err.text);
    ck_assert_msg(rwf_fs_write(b, bytes, len, false, &err) == 0, "%s", err.text);
    free(bytes);
    free(a);
    free(b);
}

/* qwen3-untied, with positions that are stretched, in version 4's words. */
static char *make_yarn(void)
{
    char *from = llm_rig_path("model/qwen3-untied"), *to = llm_rig_folder();
    char *path = rwf_fs_join(from, "config.json"),
         *out = rwf_fs_join(to, "config.json");
    json_t *config = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(config);
    json_object_del(config, "rope_parameters");
    json_object_set_new(config, "rope_theta", json_real(10000));
    json_object_set_new(config, "rope_scaling",
                        json_pack("{s:s, s:f, s:i}", "type", "yarn", "factor", 4.0,
                                  "original_max_position_embeddings", 32));
    ck_assert_int_eq(json_dump_file(config, out, 0), 0);
    copy_file(from, to, "model.safetensors");
    json_decref(config);
    free(path);
    free(out);
    free(from);
    return to;
}

static int read_ids(const json_t *golden, const char *key, int32_t *ids)
{
    const json_t *list = json_object_get(golden, key);
    ck_assert_uint_le(json_array_size(list), RIG_LENGTH);
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (int)json_array_size(list);
}

static void read_golden(struct llm_rig *r, const char *name)
{
    char *path = llm_rig_path("llm/model.json");
    json_t *all = json_load_file(path, 0, NULL);
    ck_assert_msg(all != NULL, "%s", path);
    r->golden = json_incref(json_object_get(all, name));
    ck_assert_ptr_nonnull(r->golden);
    r->prompt_count = read_ids(r->golden, "prompt", r->prompt);
    r->greedy_count = read_ids(r->golden, "greedy", r->greedy);
    json_decref(all);
    free(path);
}

void llm_rig_open_folder(struct llm_rig *r, const char *folder, const char *device,
                         enum kernel_type type)
{
    struct rwf_err err = RWF_ERR_INIT;
    memset(r, 0, sizeof(*r));
    bool deferred = strcmp(device, "deferred") == 0;
    ck_assert_msg(device_open(&r->device, deferred ? "cpu" : device, 0, 2, &err) == 0,
                  "%s", err.text);
    if (deferred)
        llm_deferred(&r->device);
    ck_assert_msg(llm_config_read(folder, &r->config, &err) == 0, "%s", err.text);
    struct llm_model_options o = {
        .device = &r->device,
        .type = type,
        .max_tokens = 4 * RIG_LENGTH,
        .max_sequences = 6,
        .max_length = r->config.context < RIG_LENGTH ? r->config.context : RIG_LENGTH,
        .cache_bytes = 4 << 20,
    };
    r->m = llm_model_open(folder, &r->config, &o, &err);
    ck_assert_msg(r->m != NULL, "%s", err.text);
}

void llm_rig_open(struct llm_rig *r, const char *name, const char *device)
{
    bool yarn = strcmp(name, "yarn") == 0;
    char *below =
        rwf_xasprintf("%s/%s", strcmp(name, "awq") == 0 ? "llm" : "model", name);
    char *folder = yarn ? make_yarn() : llm_rig_path(below);
    llm_rig_open_folder(r, folder, device, KERNEL_F32);
    read_golden(r, name);
    if (yarn)
        llm_rig_remove(folder);
    else
        free(folder);
    free(below);
}

void llm_rig_close(struct llm_rig *r)
{
    llm_model_close(r->m);
    device_close(&r->device);
    json_decref(r->golden);
}

void llm_text_begin(struct llm_rig *r, struct llm_text *t, const int32_t *ids,
                    int count)
{
    int blocks = llm_model_blocks(r->m);
    memset(t, 0, sizeof(*t));
    memcpy(t->ids, ids, (size_t)count * sizeof(*ids));
    t->count = count;
    for (int i = 0; i < RIG_BLOCKS; i++, r->next_block++) {
        ck_assert_int_lt(r->next_block, blocks);
        /* from both ends in turn */
        t->blocks[i] =
            r->next_block % 2 == 0 ? r->next_block / 2 : blocks - 1 - r->next_block / 2;
    }
}

struct llm_row llm_text_row(const struct llm_text *t, int n)
{
    ck_assert_int_le(t->computed + n, t->count);
    return (struct llm_row){
        .ids = t->ids + t->computed,
        .count = n,
        .context = t->computed,
        .blocks = t->blocks,
        .wanted = t->computed + n == t->count,
        .top_p = 1,
        .logprobs = -1,
    };
}

void llm_texts_step(struct llm_rig *r, struct llm_text *const *texts, const int *n,
                    int count)
{
    struct llm_row rows[8] = {{0}};
    struct llm_drawn drawn[8];
    struct rwf_err err = RWF_ERR_INIT;
    for (int i = 0; i < count; i++)
        rows[i] = llm_text_row(texts[i], n[i]);
    ck_assert_msg(llm_model_step(r->m, rows, count, drawn, &err) == 0, "%s", err.text);
    for (int i = 0; i < count; i++) {
        texts[i]->computed += n[i];
        if (!rows[i].wanted) {
            ck_assert_int_eq(drawn[i].id, -1);
            continue;
        }
        ck_assert_int_ge(drawn[i].id, 0);
        texts[i]->ids[texts[i]->count++] = drawn[i].id;
    }
}

void llm_text_run(struct llm_rig *r, struct llm_text *t, int chunk, int length)
{
    while (t->count < length) {
        int left = t->count - t->computed;
        int n = left < chunk ? left : chunk;
        llm_texts_step(r, &t, &n, 1);
    }
}
