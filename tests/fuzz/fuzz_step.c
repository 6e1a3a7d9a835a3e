/* SPDX-License-Identifier: Apache-2.0
 *
 * The spec and the end of a step, as another node or a client may send them: refused or
 * understood; what is understood and said again is understood in the same way.
 */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "far/steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_spec(const char *text)
{
    struct far__spec first, second;
    if (far__spec_read(&first, text, NULL) < 0)
        return;
    char *again = far__spec_write(&first.spec, first.files);
    rwf_assert(far__spec_read(&second, again, NULL) == 0);
    rwf_assert(second.spec.gpu_count == first.spec.gpu_count &&
               second.spec.memory == first.spec.memory &&
               second.spec.grace == first.spec.grace &&
               strcmp(second.spec.run_id, first.spec.run_id) == 0 &&
               json_equal(second.spec.argv, first.spec.argv));
    far__spec_secrets(&first, true);
    far__spec_secrets(&first, false);
    far__spec_free(&second);
    far__spec_free(&first);
    free(again);
}

static void try_exit(const char *text)
{
    struct proc_exit first, second;
    json_t *json, *same;
    if (far__exit_read(&first, &json, text, NULL) < 0)
        return;
    char *again = far__exit_write(&first);
    rwf_assert(far__exit_read(&second, &same, again, NULL) == 0);
    rwf_assert(second.cause == first.cause && second.exit_code == first.exit_code);
    json_decref(same);
    json_decref(json);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = rwf_xstrndup((const char *)data, size);
    try_spec(text);
    try_exit(text);
    free(text);
    return 0;
}
