/* SPDX-License-Identifier: Apache-2.0
 * A plugin that ends its process while it is loaded; for t2150. */
#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void crash(void)
{
    fprintf(stderr, "not even loaded\n");
    abort();
}
