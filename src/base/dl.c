/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/dl.h"

#include <dlfcn.h>
#include <string.h>

int rwf_dl_open(const char *const *names, const struct rwf_dl_symbol *symbols,
                size_t count, struct rwf_err *err)
{
    void *lib = NULL;
    const char *first = names[0];
    for (; !lib && *names; names++)
        lib = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return rwf_fail(err, RWF_E_ENV, "cannot open %s: %s", first, dlerror());
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(lib, symbols[i].name);
        if (!address)
            return rwf_fail(err, RWF_E_ENV, "%s has no %s: another version is needed",
                            first, symbols[i].name);
        /* A function pointer through memory: ISO C has no cast for it. */
        memcpy(symbols[i].address, &address, sizeof(address));
    }
    return 0;
}
