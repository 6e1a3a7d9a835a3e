/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "recipe/schema.h"

static int one_field(struct cmd_call *call, const char *path, struct rwf_err *err)
{
    char *near = NULL;
    const json_t *field = recipe_schema_at(path, &near);

    if (!field) {
        rwf_fail(err, RWF_E_USAGE, "no key \"%s\" in the recipe language%s%s%s", path,
                 near ? ", did you mean " : "; see raywf schema", near ? near : "",
                 near ? "?" : "");
        free(near);
        return -1;
    }
    if (call->json) {
        call->data = json_deep_copy(field);
        return 0;
    }
    char *text = json_dumps(field, JSON_INDENT(2));
    puts(text);
    free(text);
    return 0;
}

static int schema_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *path = cmd_text(call, "field", NULL);

    if (path)
        return one_field(call, path, err);
    if (call->json)
        call->data = json_deep_copy(recipe_schema());
    else
        fputs(recipe_schema_text(), stdout);
    return 0;
}

static const struct cmd_option options[] = {
    {"field", 0, CMD_TEXT, "PATH", false, NULL,
     "only this key, such as tasks.*.retry.max"},
    {0},
};

const struct cmd cmd_schema = {
    .name = "schema",
    .group = CMD_WRITE,
    .summary = "print the JSON Schema of recipes",
    .details =
        "JSON Schema 2020-12, the same that raywf checks with; editors use it for "
        "completion.",
    .examples = "raywf schema > recipe.schema.json\nraywf schema --field tasks.*.retry",
    .exits = "0 2",
    .options = options,
    .run = schema_run,
};
