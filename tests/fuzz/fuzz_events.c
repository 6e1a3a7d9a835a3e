/* SPDX-License-Identifier: Apache-2.0
 *
 * The replay of an event log over arbitrary lines: it may refuse, it may not crash, and
 * the counts of steps always sum up.
 */
#include "config.h"

#include <jansson.h>
#include <stdint.h>
#include <string.h>
#include "run/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run_state *s = run_state_create();
    const char *at = (const char *)data, *end = at + size;
    for (int64_t seq = 1; at < end; seq++) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        size_t len = nl == NULL ? (size_t)(end - at) : (size_t)(nl - at);
        json_t *event = json_loadb(at, len, 0, NULL);
        /* A right seq for every second line, so that more than the seq check is
         * reached. */
        if (json_is_object(event) && seq % 2 == 0)
            json_object_set_new(event, "seq", json_integer(s->seq + 1));
        (void)run_state_apply(s, event, NULL);
        json_decref(event);
        at += len + 1;
    }
    size_t sum = 0;
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        sum += s->counts[i];
    rwf_assert(sum == s->total);
    run_state_destroy(s);
    return 0;
}
