/* SPDX-License-Identifier: Apache-2.0
 * For t2065-values.sh: a process that does what it reads, line by line, and prints one line
 * for each: put SIZE (gives OWNER ID) | get OWNER ID (gives size and whether it is right) |
 * drop OWNER ID */
#include "raywf.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT (300 * RAYWF_S)

static struct raywf_error err;

static unsigned char byte_at(size_t i, size_t size)
{
    return (unsigned char)((i * 2654435761u) >> 16 ^ size);
}

static int put(size_t size)
{
    struct raywf_ref ref;
    unsigned char *bytes = malloc(size + 1);
    for (size_t i = 0; bytes && i < size; i++)
        bytes[i] = byte_at(i, size);
    int rc = raywf_put(bytes, size, &ref, &err);
    free(bytes);
    if (rc == 0)
        printf("%" PRIu64 " %" PRIu64 "\n", ref.owner, ref.id);
    return rc;
}

static int get(struct raywf_ref ref)
{
    struct raywf_value v;
    bool right = true;
    if (raywf_retain(ref, &err))
        return -1;
    int rc = raywf_get(ref, WAIT, &v, &err);
    if (rc == 0) {
        for (size_t i = 0; i < v.size && right; i++)
            right = ((const unsigned char *)v.data)[i] == byte_at(i, v.size);
        printf("%zu %s\n", v.size, right ? "right" : "wrong");
        raywf_release(&v);
    }
    raywf_drop(ref);
    return rc;
}

int main(void)
{
    char line[256];
    size_t size;
    struct raywf_ref ref;
    if (raywf_init(NULL, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        int rc = 0;
        if (sscanf(line, "put %zu", &size) == 1) {
            rc = put(size);
        } else if (sscanf(line, "get %" SCNu64 " %" SCNu64, &ref.owner, &ref.id) == 2) {
            rc = get(ref);
        } else if (sscanf(line, "drop %" SCNu64 " %" SCNu64, &ref.owner, &ref.id) == 2) {
            raywf_drop(ref);
            puts("dropped");
        }
        if (rc)
            printf("error: %s\n", err.text);
    }
    raywf_shutdown();
    return 0;
}
