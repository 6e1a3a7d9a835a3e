/* SPDX-License-Identifier: Apache-2.0
 *
 * duck_alone SQL…: runs statements in DuckDB with its own defaults, and nothing else: the
 * measure for a dataset step. It uses the library that raywf would use.
 */
#include "config.h"
#include <stdio.h>
#include "data/duck.h"

int main(int argc, char **argv)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct duck_options options = { .temp_dir = "." };
    struct duck *d = duck_open(&options, &err);
    int r = d != NULL ? 0 : -1;
    for (int i = 1; i < argc && r == 0; i++)
        r = duck_exec(d, argv[i], &err);
    if (r < 0)
        fprintf(stderr, "duck_alone: %s\n", err.text);
    duck_close(d);
    return r < 0;
}
