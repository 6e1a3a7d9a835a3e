/* SPDX-License-Identifier: Apache-2.0
 *
 * The output of a rank, line by line: so that lines of several ranks do not mix, each
 * has its prefix, and the last one can be told when the rank fails.
 */
#include "config.h"
#include "gang/gang.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"

#define LINE_MAX_BYTES 65536

static void remember(struct gang_lines *l, const char *line, size_t len)
{
    size_t blank = 0;
    while (blank < len &&
           (line[blank] == ' ' || line[blank] == '\t' || line[blank] == '\r'))
        blank++;
    if (blank == len)
        return;
    if (len >= sizeof(l->last))
        len = sizeof(l->last) - 1;
    memcpy(l->last, line, len);
    l->last[len] = '\0';
}

static void give(struct gang_lines *l, const char *line, size_t len)
{
    struct rwf_str clean = {NULL, 0, 0};
    size_t head = strlen(l->prefix);
    if (rwf_redact_active()) {
        rwf_redact(&clean, line, len);
        line = clean.data == NULL ? "" : clean.data;
        len = clean.len;
    }
    char *whole = rwf_xmalloc(head + len + 2);
    memcpy(whole, l->prefix, head);
    memcpy(whole + head, line, len);
    whole[head + len] = '\n';
    whole[head + len + 1] = '\0';
    bool passes = l->passes == NULL || l->passes(whole);
    int to = passes ? l->to : l->aside;
    if (l->take != NULL)
        l->take(l->ctx, whole + head, len);
    else if (to >= 0)
        (void)rwf_fs_write_all(to, whole, head + len + 1, NULL);
    if (l->log >= 0)
        (void)rwf_fs_write_all(l->log, whole + head, len + 1, NULL);
    remember(l, line, len);
    rwf_str_free(&clean);
    free(whole);
}

static size_t longest(const struct gang_lines *l)
{
    return l->max > 0 ? l->max : LINE_MAX_BYTES;
}

static void split(struct gang_lines *l)
{
    char *start = l->line, *end = l->line + l->len, *nl;
    while ((nl = memchr(start, '\n', (size_t)(end - start))) != NULL) {
        give(l, start, (size_t)(nl - start));
        start = nl + 1;
    }
    l->len = (size_t)(end - start);
    memmove(l->line, start, l->len);
    if (l->len >= longest(l)) {
        give(l, l->line, l->len);
        l->len = 0;
    }
}

bool gang_lines_read(struct gang_lines *l)
{
    if (l->line == NULL)
        l->line = rwf_xmalloc(l->cap = 2 * longest(l));
    for (;;) {
        ssize_t n = read(l->from, l->line + l->len, l->cap - l->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        l->len += (size_t)n;
        split(l);
    }
}

void gang_lines_end(struct gang_lines *l)
{
    if (l->len > 0)
        give(l, l->line, l->len);
    free(l->line);
    l->line = NULL;
    l->len = 0;
}
