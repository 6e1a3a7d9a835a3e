/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "data/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define OUT_BUFFER (1 << 20)

struct spool {
    char *path;
    int fd;
    size_t count, have;
    int64_t
        *at; /* where a result's JSON begins; 0: not there (a number stands before) */
    int64_t end; /* of the file */
};

/* The lines of text; returns where the last whole one ends. */
static int64_t take_lines(struct spool *s, const char *text, size_t len)
{
    size_t pos = 0;

    while (pos < len) {
        const char *line = text + pos, *nl = memchr(line, '\n', len - pos), *json;
        size_t number;
        char *rest;
        if (nl == NULL)
            break;
        number = strtoull(line, &rest, 10);
        json = rest < nl && *rest == '\t' ? rest + 1 : NULL;
        if (json != NULL && number < s->count && s->at[number] == 0) {
            s->at[number] = json - text;
            s->have++;
        }
        pos = (size_t)(nl - text) + 1;
    }
    return (int64_t)pos;
}

static char *map_file(int fd, size_t *ret_len, struct rwf_err *err)
{
    struct stat st;
    void *map;

    *ret_len = 0;
    if (fstat(fd, &st) != 0)
        return rwf_fail(err, errno, "%s", strerror(errno)), NULL;
    if (st.st_size == 0)
        return NULL;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return rwf_fail(err, errno, "cannot map it: %s", strerror(errno)), NULL;
    *ret_len = (size_t)st.st_size;
    return map;
}

static int load(struct spool *s, struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    size_t len;
    char *text = map_file(s->fd, &len, &why);

    if (text != NULL) {
        /* Numbers end at a tab or a newline, so strtoull stays within whole lines. */
        s->end = take_lines(s, text, len);
        munmap(text, len);
    }
    if (why.code != 0)
        return rwf_fail(err, why.code, "%s: %s", s->path, why.text);
    if (ftruncate(s->fd, s->end) != 0)
        return rwf_fail(err, errno, "%s: %s", s->path, strerror(errno));
    return 0;
}

struct spool *spool_open(const char *path, size_t count, struct rwf_err *err)
{
    struct spool *s = rwf_xcalloc(1, sizeof(*s));

    s->path = rwf_xstrdup(path);
    s->count = count;
    s->at = rwf_xcalloc(count + 1, sizeof(*s->at));
    s->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->fd < 0)
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    else if (load(s, err) == 0)
        return s;
    spool_close(s);
    return NULL;
}

void spool_close(struct spool *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->at);
    free(s);
}

bool spool_has(const struct spool *s, size_t number)
{
    return s->at[number] != 0;
}

size_t spool_count(const struct spool *s)
{
    return s->have;
}

int spool_add(struct spool *s, size_t number, const char *json, size_t len,
              struct rwf_err *err)
{
    struct rwf_str line = {0};

    rwf_assert(number < s->count && !spool_has(s, number));
    rwf_str_addf(&line, "%zu\t", number);
    s->at[number] = s->end + (int64_t)line.len;
    rwf_str_addn(&line, json, len);
    rwf_str_addc(&line, '\n');
    int rc = rwf_fs_write_all(s->fd, line.data, line.len, err);
    s->end += (int64_t)line.len;
    s->have++;
    rwf_str_free(&line);
    return rc;
}

/* --- out --- */

static int write_list(FILE *out, const char *text, size_t len)
{
    json_t *list = json_loadb(text, len, 0, NULL), *item;
    size_t i;
    int rc = 0;

    json_array_foreach(list, i, item)
        if (json_dumpf(item, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0 ||
            putc('\n', out) == EOF)
            rc = -1;
    json_decref(list);
    return rc;
}

static int write_all(const struct spool *s, const char *text, size_t len, FILE *out,
                     bool lists)
{
    for (size_t i = 0; i < s->count; i++) {
        rwf_assert(s->at[i] != 0 && (size_t)s->at[i] < len);
        const char *json = text + s->at[i];
        const char *nl = memchr(json, '\n', len - (size_t)s->at[i]);
        size_t size = (size_t)(nl - json);
        if (lists ? write_list(out, json, size) != 0
                  : fwrite(json, 1, size + 1, out) != size + 1)
            return -1;
    }
    return 0;
}

int spool_write(struct spool *s, const char *path, bool lists, struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    size_t len;
    char *text = map_file(s->fd, &len, &why);
    FILE *out;
    int rc = -1;

    if (why.code != 0)
        return rwf_fail(err, why.code, "%s: %s", s->path, why.text);
    out = fopen(path, "we");
    if (out != NULL) {
        setvbuf(out, NULL, _IOFBF, OUT_BUFFER);
        rc = write_all(s, text, len, out, lists);
        rc = fclose(out) == 0 ? rc : -1;
    }
    if (rc != 0)
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (text != NULL)
        munmap(text, len);
    return rc;
}
