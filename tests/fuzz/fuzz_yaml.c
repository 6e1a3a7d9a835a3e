/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text as a recipe: read, checked against the schema, its references resolved, its
 * problems printed. A recipe without errors also has a JSON form.
 */
#include "config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/err.h"
#include "base/mem.h"
#include "recipe/diag.h"
#include "recipe/recipe.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory that the recipe is written to. */
static int fd;
static char path[64];
static FILE *sink;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rwf_mem_init();
    fd = memfd_create("recipe.yaml", MFD_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    sink = fopen("/dev/null", "w");
    return fd < 0 || !sink ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recipe_options options = {0};
    struct rwf_err err = RWF_ERR_INIT;

    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    struct recipe_diags *diags = recipe_diags_create();
    struct recipe *r = recipe_load(path, &options, diags, &err);
    if (r) {
        recipe_diags_print(diags, recipe_sources(r), sink, true);
        json_decref(recipe_diags_json(diags, recipe_sources(r)));
    } else if (err.text[0] == '\0') {
        abort();
    }
    if (r && recipe_diags_errors(diags) == 0)
        json_decref(recipe_to_json(recipe_root(r)));
    recipe_destroy(r);
    recipe_diags_destroy(diags);
    return 0;
}
