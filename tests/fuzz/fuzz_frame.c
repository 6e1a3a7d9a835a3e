/* SPDX-License-Identifier: Apache-2.0
 * What a peer may send: frames of any kind, cut anywhere. The first byte says in how
 * large pieces they come; what is a message must pack into the same again (unless it
 * has fields that we do not know: protobuf-c keeps those as they came). */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/inbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct wire_message *m)
{
    struct rwf_str out = {0};
    struct wire_message again;
    size_t used;
    if (m->body->n_unknown_fields)
        return;
    wire_frame_add(&out, m->type, m->body, 0);
    int rc = wire_frame_take(out.data, out.len, &again, &used, NULL);
    rwf_assert(rc == 1 && used == out.len && again.type == m->type);
    wire_message_clear(&again);
    rwf_str_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire__inbox in = {0};
    struct wire_message m;
    struct rwf_err err = RWF_ERR_INIT;
    size_t step = size ? data[0] + 1u : 1;
    int rc = 0;
    for (size_t at = 1; at < size && rc >= 0; at += step) {
        wire__inbox_put(&in, data + at, step < size - at ? step : size - at);
        while ((rc = wire__inbox_take(&in, &m, &err)) > 0) {
            check(&m);
            wire_message_clear(&m);
        }
    }
    rwf_assert(rc >= 0 || err.text[0]);
    wire__inbox_free(&in);
    return 0;
}
