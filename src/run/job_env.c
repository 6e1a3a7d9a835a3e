/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "run/job_env.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/redact.h"
#include "run/log.h"

/* Calls fn with each variable that the list has, and that is set. */
static void each(const char *list, void (*fn)(void *ctx, const char *, const char *),
                 void *ctx)
{
    const char *names = getenv(list);
    char *copy = names == NULL ? NULL : rwf_xstrdup(names), *save = NULL;
    char *name = copy == NULL ? NULL : strtok_r(copy, ",", &save);
    for (; name != NULL; name = strtok_r(NULL, ",", &save)) {
        const char *value = getenv(name);
        if (value != NULL)
            fn(ctx, name, value);
    }
    free(copy);
}

/* What is too short to be hidden is no secret worth the name: it would hide everything. */
static void hide(void *ctx, const char *name, const char *value)
{
    (void)ctx;
    (void)rwf_redact_add(name, value, NULL);
}

void run_job_env_hide(void)
{
    each("RAYWF_JOB_SECRETS", hide, NULL);
}

static void add(void *ctx, const char *name, const char *value)
{
    json_t *env = ctx;
    if (json_object_get(env, name) == NULL)
        json_object_set_new(env, name, run_text(value));
}

json_t *run__job_env_add(const json_t *env)
{
    json_t *out = env == NULL ? json_object() : json_copy((json_t *)(uintptr_t)env);
    each("RAYWF_JOB_ENV", add, out);
    return out;
}
