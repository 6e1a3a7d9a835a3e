/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"

enum { KEPT = 32, LINE = 512 };

static const char *const names[] = { "error", "warn", "info", "debug" };
static _Atomic int level_set = -1; /* threads find it out by themselves */
static char kept[KEPT][LINE];
static unsigned kept_next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- into a file that does not grow for ever --- */

static struct {
    char *path; /* NULL: stderr is what it was at the start */
    int64_t max;
    int keep;
} file;

static int open_file(struct rwf_err *err)
{
    int fd = open(file.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0) {
        rwf_fail(err, errno, "cannot log to %s: %s", file.path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    close(fd);
    return 0;
}

int rwf_log_to_file(const char *path, int64_t max, int keep, struct rwf_err *err)
{
    pthread_mutex_lock(&lock);
    free(file.path);
    file.path = rwf_xstrdup(path);
    file.max = max;
    file.keep = keep;
    int rc = open_file(err);
    if (rc) {
        free(file.path);
        file.path = NULL;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* Its size is asked for each time: children write there, too. */
static void rotate(void)
{
    struct stat st;
    if (!file.path || fstat(STDERR_FILENO, &st) != 0 || st.st_size <= file.max)
        return;
    for (int i = file.keep; i > 0; i--) {
        char *to = rwf_xasprintf("%s.%d", file.path, i);
        char *from = i == 1 ? rwf_xstrdup(file.path)
                            : rwf_xasprintf("%s.%d", file.path, i - 1);
        (void)rename(from, to);
        free(from);
        free(to);
    }
    if (open_file(NULL)) { /* it goes on in the file that was renamed */
    }
}

/* --- lines --- */

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

/* Names and texts of others are in it: they must not end lines, or rule a terminal. */
static void make_plain(char *text)
{
    size_t len = strlen(text);
    bool utf8 = rwf_utf8_valid(text, len);
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c == 0x7f || (*c < ' ' && *c != '\t') || (*c > 0x7f && !utf8))
            *c = *c == '\n' ? ' ' : '?';
}

void rwf_log_write(enum rwf_log_level level, const char *subsystem, const char *fmt, ...)
{
    char text[LINE - 64];
    char when[RWF_TIME_LEN];
    struct rwf_str line = { 0 };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    rwf_clock_format(rwf_clock_wall(), when);
    pthread_mutex_lock(&lock);
    if (file.path)
        rwf_str_addf(&line, "%s ", when);
    rwf_str_addf(&line, "raywf: %s: %s: ", names[level], subsystem);
    size_t start = line.len;
    rwf_redact(&line, text, strlen(text));
    make_plain(line.data + start); /* not before: a secret may have lines */
    rwf_str_addc(&line, '\n');
    snprintf(kept[kept_next++ % KEPT], LINE, "%s", line.data);
    if (write(STDERR_FILENO, line.data, line.len) < 0) { /* nowhere left to say so */
    }
    rotate();
    pthread_mutex_unlock(&lock);
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
