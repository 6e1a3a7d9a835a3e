/* SPDX-License-Identifier: Apache-2.0
 * A plugin that was linked without a library it needs. */
#include "native/raywf.h"

int function_of_a_missing_library(void);

static int f(struct raywf_call *call)
{
    (void)call;
    return function_of_a_missing_library();
}

static const struct raywf_function functions[] = {{"f", f, 0}, {0}};
RAYWF_PLUGIN(.functions = functions);
