/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "head/inside.h"

#define NAMES_MAX 1024 /* custom resources, or labels, of one demand */

static bool is_amount(double x)
{
    return isfinite(x) && x >= 0 && x < 1e12;
}

static int check(const Wire__Resources *r, struct rwf_err *err)
{
    if (!is_amount(r->cpu) || !is_amount(r->gpu) || r->memory > INT64_MAX)
        return rwf_fail(err, RAYWF_E_ARGUMENT,
                        "cpu, gpu and memory must be numbers from 0 up");
    if (r->gpu > 1 && r->gpu != floor(r->gpu))
        return rwf_fail(err, RAYWF_E_ARGUMENT,
                        "gpu: %g: more than one card must be whole cards", r->gpu);
    if (r->n_custom > NAMES_MAX || r->n_labels > NAMES_MAX)
        return rwf_fail(err, RAYWF_E_ARGUMENT,
                        "more than %d custom resources or labels", NAMES_MAX);
    for (size_t i = 0; i < r->n_custom; i++)
        if (!is_amount(r->custom[i]->amount) || !*r->custom[i]->name)
            return rwf_fail(err, RAYWF_E_ARGUMENT,
                            "resource '%s' must have a name, and be a number from 0 up",
                            r->custom[i]->name);
    for (size_t i = 0; i < r->n_labels; i++)
        if (!*r->labels[i]->key)
            return rwf_fail(err, RAYWF_E_ARGUMENT, "a label has no name");
    if (r->placement > RAYWF_DIFFERENT_NODES)
        return rwf_fail(err, RAYWF_E_ARGUMENT, "placement %u is none", r->placement);
    return 0;
}

int head__need_set(struct head__need *ret, const Wire__Resources *r, const char *home,
                   struct rwf_err *err)
{
    static const Wire__Resources none = WIRE__RESOURCES__INIT;
    r = r ? r : &none;
    *ret = (struct head__need){0};
    if (check(r, err))
        return -1;
    ret->names = rwf_xcalloc(r->n_custom + 1, sizeof(*ret->names));
    ret->amounts = rwf_xcalloc(r->n_custom + 1, sizeof(*ret->amounts));
    ret->keys = rwf_xcalloc(r->n_labels + 1, sizeof(*ret->keys));
    ret->values = rwf_xcalloc(r->n_labels + 1, sizeof(*ret->values));
    struct schedule_need *n = &ret->need;
    n->cpu = r->cpu;
    n->gpu = r->gpu;
    n->memory = (int64_t)r->memory;
    for (size_t i = 0; i < r->n_custom; i++) {
        ret->names[n->custom_count] = r->custom[i]->name;
        ret->amounts[n->custom_count++] = r->custom[i]->amount;
    }
    for (size_t i = 0; i < r->n_labels; i++) {
        ret->keys[n->label_count] = r->labels[i]->key;
        ret->values[n->label_count++] = r->labels[i]->value;
    }
    if (home) {
        ret->keys[n->label_count] = "node";
        ret->values[n->label_count++] = home;
    }
    n->custom_names = ret->names;
    n->custom_amounts = ret->amounts;
    n->label_keys = ret->keys;
    n->label_values = ret->values;
    return 0;
}

void head__need_clear(struct head__need *n)
{
    free(n->names);
    free(n->amounts);
    free(n->keys);
    free(n->values);
    *n = (struct head__need){0};
}

json_t *head__message_json(const ProtobufCMessage *m)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = rwf_xmalloc(len + 1);
    char *text = rwf_xmalloc(2 * len + 1);
    protobuf_c_message_pack(m, bytes);
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    json_t *ret = json_stringn(text, 2 * len);
    free(bytes);
    free(text);
    return ret;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void *head__message_parse(const json_t *text, const ProtobufCMessageDescriptor *d)
{
    const char *hex = json_string_value(text);
    size_t len = json_string_length(text) / 2;
    if (!hex)
        return NULL;
    uint8_t *bytes = rwf_xmalloc(len + 1);
    bool good = json_string_length(text) % 2 == 0;
    for (size_t i = 0; good && i < len; i++) {
        int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
        good = high >= 0 && low >= 0;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    void *m = good ? protobuf_c_message_unpack(d, NULL, len, bytes) : NULL;
    free(bytes);
    return m;
}

size_t head__gpu_list(uint64_t gpus, uint32_t ret[64])
{
    size_t count = 0;
    for (uint32_t i = 0; i < 64; i++)
        if (gpus >> i & 1)
            ret[count++] = i;
    return count;
}

uint64_t head__gpu_bits(const uint32_t *gpus, size_t count)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++)
        if (gpus[i] < 64)
            bits |= UINT64_C(1) << gpus[i];
    return bits;
}
