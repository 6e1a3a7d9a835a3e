/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/frame.h"

void wire_hello_set(Wire__Hello *h, const char *role, const char *name)
{
    wire__hello__init(h);
    h->version = (char *)PACKAGE_VERSION;
    h->role = (char *)role;
    h->pid = (uint32_t)getpid();
    h->name = (char *)(name ? name : "");
}

/* How much of a version must be the same: "1." of 1.4.2, "0.3." of 0.3.1. */
static size_t major_len(const char *version)
{
    size_t len = strcspn(version, ".");
    if (version[0] == '0' && len == 1 && version[len])
        len += 1 + strcspn(version + len + 1, ".");
    return len;
}

int wire_hello_check(const Wire__Hello *h, bool same, struct rwf_err *err)
{
    size_t len = major_len(PACKAGE_VERSION);
    bool fits = same ? !strcmp(h->version, PACKAGE_VERSION)
                     : major_len(h->version) == len &&
                           !strncmp(h->version, PACKAGE_VERSION, len);
    if (fits)
        return 0;
    return rwf_fail(
        err, EPROTO,
        "the peer is raywf %.40s, this is raywf %s: install the same on both",
        h->version[0] ? h->version : "of no version", PACKAGE_VERSION);
}
