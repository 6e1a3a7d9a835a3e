/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

static const struct exit_row {
    int code;
    const char *help;
} exits[] = {
#define RWF_EXIT(name, code, help) { code, help },
#include "base/exit.def"
#undef RWF_EXIT
};

int rwf_fail(struct rwf_err *err, int code, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        err->code = code;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return -1;
}

int rwf_wrap(struct rwf_err *err, const char *fmt, ...)
{
    if (err) {
        char inner[sizeof(err->text)];
        memcpy(inner, err->text, sizeof(inner));
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        size_t used = strlen(err->text);
        snprintf(err->text + used, sizeof(err->text) - used, ": %.*s",
                 (int)(sizeof(inner) - 1), inner);
    }
    return -1;
}

int rwf_exit_code(const struct rwf_err *err)
{
    if (err->code > RWF_E_BASE && rwf_exit_help(err->code - RWF_E_BASE))
        return err->code - RWF_E_BASE;
    return RWF_E_ENV - RWF_E_BASE;
}

static size_t exit_rank(int code)
{
    size_t i = 0;
    while (i < RWF_COUNT(exits) && exits[i].code != code)
        i++;
    return i;
}

const char *rwf_exit_help(int exit_code)
{
    size_t i = exit_rank(exit_code);
    return i < RWF_COUNT(exits) ? exits[i].help : NULL;
}

int rwf_exit_worse(int a, int b)
{
    return exit_rank(a) <= exit_rank(b) ? a : b;
}

void rwf_assert_failed(const char *cond, const char *file, int line)
{
    dprintf(STDERR_FILENO,
            "raywf: internal bug: '%s' does not hold (%s:%d). Please report it with "
            "these lines:\n",
            cond, file, line);
    rwf_log_dump_last(STDERR_FILENO);
    abort();
}
