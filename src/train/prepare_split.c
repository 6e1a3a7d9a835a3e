/* SPDX-License-Identifier: Apache-2.0
 *
 * A split as it is read, and files as they are written.
 */
#include "config.h"
#include "train/prepare.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "base/units.h"
#include "data/query.h"
#include "data/read.h"
#include "data/sql.h"

#define SINK_BUFFER (1 << 20)
#define REPORT_NS (200 * RWF_NS_PER_MS)
#define COLUMNS_SHOWN 24

/* --- opening --- */

static void set_columns(struct prepare_split *s, const json_t *columns)
{
    size_t i;
    json_t *column;
    json_decref(s->columns);
    rwf_map_destroy(s->index, NULL);
    s->columns = json_deep_copy(columns);
    s->index = rwf_map_create();
    json_array_foreach(s->columns, i, column)
        rwf_map_set(s->index, json_string_value(json_object_get(column, "name")),
                    column);
}

static int describe(struct prepare *p, struct prepare_split *s, struct rwf_err *err)
{
    struct rwf_str sql = { 0 };
    int64_t bytes = 0;
    struct query *q = NULL;
    int r = read_add_sql(p->duck, s->read, &sql, &bytes, err);
    if (r == 0 && (q = query_create(p->duck, sql.data, err)) == NULL)
        r = -1;
    if (r == 0) {
        free(s->select);
        s->select = rwf_str_take(&sql);
        s->bytes = bytes;
        set_columns(s, query_columns(q));
    }
    query_destroy(q);
    rwf_str_free(&sql);
    return r < 0 ? rwf_wrap(err, "dataset.%s", s->name) : 0;
}

int prepare__open_split(struct prepare *p, struct prepare_split *s, const char *name,
                        struct rwf_err *err)
{
    const json_t *given = prepare__get(p, "dataset", name);
    s->name = name;
    s->phase = "reading";
    if (given == NULL)
        return rwf_fail(err, RWF_E_INPUT, "dataset.%s is missing", name);
    s->read = json_is_object(given) ? json_copy((json_t *)(uintptr_t)given)
                                    : json_pack("{s:O}", "path", given);
    return describe(p, s, err);
}

int prepare__cast_split(struct prepare *p, struct prepare_split *s, json_t *types,
                        struct rwf_err *err)
{
    json_object_set(s->read, "types", types);
    return describe(p, s, err);
}

void prepare__close_split(struct prepare_split *s)
{
    json_decref(s->read);
    json_decref(s->columns);
    rwf_map_destroy(s->index, NULL);
    free(s->select);
}

/* --- columns --- */

static int no_column(const struct prepare_split *s, const char *name,
                     struct rwf_err *err)
{
    struct rwf_suggest near;
    struct rwf_str names = { 0 };
    size_t i, count = json_array_size(s->columns);
    json_t *column;
    rwf_suggest_init(&near, name);
    json_array_foreach(s->columns, i, column) {
        const char *other = json_string_value(json_object_get(column, "name"));
        rwf_suggest_try(&near, other);
        if (i < COLUMNS_SHOWN)
            rwf_str_addf(&names, "%s%s", i > 0 ? ", " : "", other);
    }
    if (count > COLUMNS_SHOWN)
        rwf_str_addf(&names, ", … (%zu in all)", count);
    const char *best = rwf_suggest_best(&near);
    rwf_fail(err, RWF_E_INPUT, "dataset.%s has no column '%s'%s%s%s its columns: %s",
             s->name, name, best != NULL ? ": did you mean '" : ";",
             best != NULL ? best : "", best != NULL ? "'?" : "",
             names.data != NULL ? names.data : "none");
    rwf_str_free(&names);
    return -1;
}

const char *prepare__type_name(const struct prepare_split *s, const char *name)
{
    return json_string_value(json_object_get(rwf_map_get(s->index, name), "type"));
}

static enum prepare_type type_of(const char *type)
{
    static const struct {
        const char *name;
        enum prepare_type type;
    } table[] = {
        { "TINYINT", PREPARE_WHOLE },   { "SMALLINT", PREPARE_WHOLE },
        { "INTEGER", PREPARE_WHOLE },   { "BIGINT", PREPARE_WHOLE },
        { "UTINYINT", PREPARE_WHOLE },  { "USMALLINT", PREPARE_WHOLE },
        { "UINTEGER", PREPARE_WHOLE },  { "UBIGINT", PREPARE_NUMBER },
        { "HUGEINT", PREPARE_NUMBER },  { "UHUGEINT", PREPARE_NUMBER },
        { "FLOAT", PREPARE_NUMBER },    { "DOUBLE", PREPARE_NUMBER },
        { "BOOLEAN", PREPARE_BOOLEAN }, { "VARCHAR", PREPARE_TEXT },
    };
    size_t len = strlen(type);
    for (size_t i = 0; i < RWF_COUNT(table); i++)
        if (strcmp(table[i].name, type) == 0)
            return table[i].type;
    if (len > 0 && type[len - 1] == ')' && rwf_starts_with(type, "DECIMAL("))
        return PREPARE_NUMBER;
    return len > 0 && type[len - 1] == ')' && rwf_starts_with(type, "ENUM(")
               ? PREPARE_TEXT
               : PREPARE_OTHER;
}

int prepare__column(const struct prepare_split *s, const char *name,
                    enum prepare_type *ret, struct rwf_err *err)
{
    const json_t *column = rwf_map_get(s->index, name);
    if (column == NULL)
        return no_column(s, name, err);
    *ret = type_of(json_string_value(json_object_get(column, "type")));
    return 0;
}

/* --- reading --- */

void prepare__progress(struct prepare *p, const struct prepare_split *s, int64_t rows,
                       const char *message)
{
    int64_t now = rwf_clock_mono();
    if (p->run->report == NULL || now - p->reported < REPORT_NS)
        return;
    p->reported = now;
    double done = duck_progress(p->duck);
    if (done < 0 && s->rows > 0)
        done = (double)rows / (double)s->rows;
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    double all = p->bytes_all > 0 ? p->bytes_all : 1;
    json_t *line = json_pack("{s:f, s:I}", "progress",
                             (p->bytes_done + done * (double)s->bytes) / all, "rows",
                             (json_int_t)rows);
    char *text = message != NULL
                     ? rwf_xasprintf("%s %s: %s", s->phase, s->name, message)
                     : rwf_xasprintf("%s %s", s->phase, s->name);
    json_object_set_new(line, "message", json_string(text));
    p->run->report(p->run, line);
    json_decref(line);
    free(text);
}

/* What DuckDB cannot read is the file's fault: it names the file, the line and the
 * value. */
static void explain(struct rwf_err *err)
{
    size_t len = strlen(err->text);
    if (strstr(err->text, "Out of Memory") != NULL)
        snprintf(err->text + len, sizeof(err->text) - len,
                 "; give the step more resources.memory, or fewer cpu");
    static const char *const signs[] = { "CSV Error", "Conversion Error", "JSON",
                                         "Parquet" };
    for (size_t i = 0; i < RWF_COUNT(signs) && err->code == RWF_E_FAILED; i++)
        if (strstr(err->text, signs[i]) != NULL)
            err->code = RWF_E_INPUT;
}

int prepare__stream(struct prepare *p, const struct prepare_split *s, const char *list,
                    duck_chunk_fn each, void *ctx, struct rwf_err *err)
{
    struct rwf_str sql = { 0 };
    rwf_str_addf(&sql, "SELECT %s FROM (%s\n)", list, s->select);
    int r = duck_stream(p->duck, sql.data, each, ctx, err);
    rwf_str_free(&sql);
    p->bytes_done += (double)s->bytes;
    if (r < 0 && err != NULL)
        explain(err);
    return r < 0 ? rwf_wrap(err, "dataset.%s", s->name) : 0;
}

/* --- writing --- */

int prepare__sink_open(struct prepare *p, struct prepare_sink *s, const char *split,
                       const char *part, struct rwf_err *err)
{
    *s = (struct prepare_sink){ .fd = -1 };
    s->path = rwf_xasprintf("%s/%s.%s", p->folder, split, part);
    s->buffer = rwf_xmalloc(SINK_BUFFER);
    s->fd = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (s->fd >= 0)
        return 0;
    rwf_fail(err, errno, "%s: %s", s->path, strerror(errno));
    prepare__sink_abort(s);
    return -1;
}

static int write_out(struct prepare_sink *s, const void *bytes, size_t size,
                     struct rwf_err *err)
{
    char done[RWF_UNITS_LEN];
    struct rwf_err why = RWF_ERR_INIT;
    if (rwf_fs_write_all(s->fd, bytes, size, &why) == 0) {
        s->written += (int64_t)size;
        return 0;
    }
    rwf_size_format(s->written, done);
    if (why.code == ENOSPC || why.code == EDQUOT)
        return rwf_fail(err, why.code,
                        "%s: no space is left on the disk after %s: make "
                        "room and run again",
                        s->path, done);
    return rwf_fail(err, why.code, "%s: %s after %s", s->path, why.text, done);
}

static int flush(struct prepare_sink *s, struct rwf_err *err)
{
    size_t used = s->used;
    s->used = 0;
    return used > 0 ? write_out(s, s->buffer, used, err) : 0;
}

int prepare__sink_add(struct prepare_sink *s, const void *bytes, size_t size,
                      struct rwf_err *err)
{
    if (s->used + size > SINK_BUFFER && flush(s, err) < 0)
        return -1;
    if (size > SINK_BUFFER)
        return write_out(s, bytes, size, err);
    memcpy(s->buffer + s->used, bytes, size);
    s->used += size;
    return 0;
}

int prepare__sink_close(struct prepare_sink *s, struct rwf_err *err)
{
    int r = flush(s, err);
    if (r == 0 && fsync(s->fd) < 0)
        r = rwf_fail(err, errno, "%s: %s", s->path, strerror(errno));
    if (close(s->fd) < 0 && r == 0)
        r = rwf_fail(err, errno, "%s: %s", s->path, strerror(errno));
    s->fd = -1;
    prepare__sink_abort(s);
    return r;
}

void prepare__sink_abort(struct prepare_sink *s)
{
    if (s->path == NULL)
        return; /* never opened, or closed */
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->buffer);
    s->path = s->buffer = NULL;
    s->fd = -1;
}

int prepare__write_json(struct prepare *p, const char *name, const json_t *value,
                        struct rwf_err *err)
{
    char *path = rwf_fs_join(p->folder, name);
    char *text = json_dumps(value, JSON_INDENT(1) | JSON_SORT_KEYS);
    int r = rwf_fs_write(path, text, strlen(text), true, err);
    free(text);
    free(path);
    return r;
}

int prepare__room(const struct prepare *p, double bytes, struct rwf_err *err)
{
    struct statvfs st;
    char want[RWF_UNITS_LEN], have[RWF_UNITS_LEN];
    if (statvfs(p->folder, &st) < 0 || st.f_blocks == 0)
        return 0; /* the writing will tell */
    double room = (double)st.f_bavail * (double)st.f_frsize;
    if (bytes <= room)
        return 0;
    rwf_size_format((int64_t)bytes, want);
    rwf_size_format((int64_t)room, have);
    return rwf_fail(err, RWF_E_ENV,
                    "the prepared data needs %s in %s, where %s are free: "
                    "make room, or set fewer features",
                    want, p->folder, have);
}
