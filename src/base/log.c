/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/redact.h"

enum { KEPT = 32, LINE = 512 };

static const char *const names[] = { "error", "warn", "info", "debug" };
static int level_set = -1;
static char kept[KEPT][LINE];
static unsigned kept_next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void rwf_log_set_level(enum rwf_log_level level)
{
    level_set = (int)level;
}

int rwf_log_enabled(enum rwf_log_level level)
{
    if (level_set < 0) {
        const char *want = getenv("RAYWF_LOG");
        int found = RWF_LOG_WARN;
        for (size_t i = 0; want && i < RWF_COUNT(names); i++)
            if (strcmp(want, names[i]) == 0)
                found = (int)i;
        level_set = found;
    }
    return (int)level <= level_set;
}

void rwf_log_write(enum rwf_log_level level, const char *subsystem, const char *fmt, ...)
{
    char text[LINE - 64];
    struct rwf_str line = { 0 };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    rwf_str_addf(&line, "raywf: %s: %s: ", names[level], subsystem);
    rwf_redact(&line, text, strlen(text));
    rwf_str_addc(&line, '\n');
    pthread_mutex_lock(&lock);
    snprintf(kept[kept_next++ % KEPT], LINE, "%s", line.data);
    pthread_mutex_unlock(&lock);
    if (write(STDERR_FILENO, line.data, line.len) < 0) { /* nowhere left to say so */
    }
    rwf_str_free(&line);
}

void rwf_log_dump_last(int fd)
{
    for (unsigned i = 0; i < KEPT; i++) {
        const char *line = kept[(kept_next + i) % KEPT];
        if (*line)
            dprintf(fd, "  %s", line);
    }
}
