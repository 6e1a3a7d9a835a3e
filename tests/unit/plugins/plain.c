/* SPDX-License-Identifier: Apache-2.0
 * A plugin that needs nothing of raywf when it is loaded. */
#include "native/raywf.h"

static int nothing(struct raywf_call *call)
{
    (void)call;
    return 0;
}

static int create(struct raywf_call *call, void **ret_state)
{
    (void)call;
    *ret_state = 0;
    return 0;
}

static const struct raywf_function functions[] = {
    {"square", nothing, 0}, {"nothing", nothing, "does nothing"}, {0}};
static const struct raywf_class classes[] = {
    {"Counter", create, 0, (const struct raywf_function[]){{"add", nothing, 0}, {0}},
     0},
    {"Hollow", 0, 0, 0, 0},
    {0}};
RAYWF_PLUGIN(.functions = functions, .classes = classes);
