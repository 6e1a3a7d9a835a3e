/* SPDX-License-Identifier: Apache-2.0
 *
 * The library is pinned to one minor version: split and shuffle stand on its hash(),
 * and results are kept by content, so another version could silently give other bytes.
 *
 * Without duckdb.h at build time duck_none.c takes its place. Nothing else in the tree
 * includes duckdb.h.
 */
#include "config.h"
#include "data/duck.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/dl.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define DUCK_WANTED "v1.4."
#define DUCK_TICK_NS (200 * RWF_NS_PER_MS)

#ifdef HAVE_DUCKDB
#include <duckdb.h>

#define DUCK_CALLS(X) \
    X(library_version) X(create_config) X(set_config) X(destroy_config) X(open_ext) \
    X(close) X(connect) X(disconnect) X(query) X(destroy_result) X(result_error) \
    X(query_progress) X(column_count) X(column_name) X(column_type) \
    X(fetch_chunk) X(data_chunk_get_size) X(data_chunk_get_vector) \
    X(destroy_data_chunk) X(vector_get_data) X(vector_get_validity) \
    X(validity_row_is_valid) X(rows_changed) X(string_t_length) X(string_t_data) X(free) \
    X(prepare) X(prepare_error) X(destroy_prepare) X(execute_prepared_streaming)

static struct {
#define X(name) __typeof__(&duckdb_##name) name;
    DUCK_CALLS(X)
#undef X
    char *library;
} api;

struct duck {
    duckdb_database database;
    duckdb_connection connection;
    int error_line;
};

static const struct rwf_dl_symbol symbols[] = {
#define X(name) { "duckdb_" #name, &api.name },
    DUCK_CALLS(X)
#undef X
};

/* Where it may be, in order; the caller frees the n strings. */
static size_t candidates(char *paths[], size_t max)
{
    size_t n = 0;
    const char *named = getenv("RAYWF_DUCKDB");
    rwf_assert(max >= 4);
    if (named != NULL && named[0] != '\0') {
        paths[n++] = rwf_fs_is_file(named) || rwf_ends_with(named, ".so")
                         ? rwf_xstrdup(named)
                         : rwf_fs_join(named, "libduckdb.so");
        return n; /* who names one wants that one and no other */
    }
    paths[n++] = rwf_fs_join(RWF_DUCKDB_DIR, "libduckdb.so");
    paths[n++] = rwf_fs_join(RWF_PKGLIBDIR, "libduckdb.so");
    paths[n++] = rwf_xstrdup("libduckdb.so");
    return n;
}

static int check_version(const char *path, struct rwf_err *err)
{
    if (rwf_starts_with(api.library_version(), DUCK_WANTED))
        return 0;
    return rwf_fail(
        err, RWF_E_ENV,
        "%s is DuckDB %s, but datasets need 1.4.x: run ./bootstrap, or name "
        "the right library in RAYWF_DUCKDB",
        path, api.library_version());
}

static int open_library(struct rwf_err *err)
{
    char *paths[4];
    size_t n, i;
    if (api.library != NULL)
        return 0;
    n = candidates(paths, RWF_COUNT(paths));
    struct rwf_err why = RWF_ERR_INIT;
    for (i = 0; i < n && api.library == NULL; i++) {
        const char *names[] = { paths[i], NULL };
        if (strchr(paths[i], '/') != NULL && !rwf_fs_exists(paths[i]))
            continue;
        if (rwf_dl_open(names, symbols, RWF_COUNT(symbols), &why) == 0)
            api.library = rwf_xstrdup(paths[i]);
    }
    for (i = 0; i < n; i++)
        free(paths[i]);
    if (api.library == NULL)
        return rwf_fail(err, RWF_E_ENV,
                        "datasets need DuckDB's library, libduckdb.so 1.4.x%s%s%s: run "
                        "./bootstrap, or name it in RAYWF_DUCKDB",
                        why.code != 0 ? " (" : ", which was not found", why.text,
                        why.code != 0 ? ")" : "");
    if (check_version(api.library, err) == 0)
        return 0;
    free(api.library);
    api.library = NULL;
    return -1;
}

/* --- a connection --- */

static int set_options(duckdb_config config, const struct duck_options *options,
                       struct rwf_err *err)
{
    char memory[40], threads[16];
    snprintf(memory, sizeof(memory), "%lldB", (long long)options->memory);
    snprintf(threads, sizeof(threads), "%d", options->threads);
    const struct {
        const char *name, *value;
    } table[] = {
        { "autoinstall_known_extensions", "false" },
        { "autoload_known_extensions", "false" },
        { "allow_community_extensions", "false" },
        { "temp_directory", options->temp_dir != NULL ? options->temp_dir : "" },
        { "memory_limit", options->memory > 0 ? memory : NULL },
        { "threads", options->threads > 0 ? threads : NULL },
    };
    for (size_t i = 0; i < RWF_COUNT(table); i++)
        if (table[i].value != NULL &&
            api.set_config(config, table[i].name, table[i].value) != DuckDBSuccess)
            return rwf_fail(err, RWF_E_ENV, "DuckDB refuses %s=%s", table[i].name,
                            table[i].value);
    return 0;
}

struct duck *duck_open(const struct duck_options *options, struct rwf_err *err)
{
    duckdb_config config = NULL;
    char *why = NULL;
    int r = -1;
    if (open_library(err) < 0)
        return NULL;
    struct duck *d = rwf_xcalloc(1, sizeof(*d));
    if (api.create_config(&config) != DuckDBSuccess) {
        rwf_fail(err, RWF_E_ENV, "DuckDB has no memory to start");
        goto out;
    }
    if (set_options(config, options, err) < 0)
        goto out;
    if (api.open_ext(NULL, &d->database, config, &why) != DuckDBSuccess ||
        api.connect(d->database, &d->connection) != DuckDBSuccess) {
        rwf_fail(err, RWF_E_ENV, "DuckDB does not start: %s", why != NULL ? why : "?");
        goto out;
    }
    r = duck_exec(d, "SET TimeZone = 'UTC'; SET enable_progress_bar = true; "
                     "SET enable_progress_bar_print = false", err);
out:
    if (why != NULL)
        api.free(why);
    api.destroy_config(&config);
    if (r == 0)
        return d;
    duck_close(d);
    return NULL;
}

void duck_close(struct duck *d)
{
    if (d == NULL)
        return;
    if (d->connection != NULL)
        api.disconnect(&d->connection);
    if (d->database != NULL)
        api.close(&d->database);
    free(d);
}

/* --- errors --- */

/* The part of DuckDB's text that says what is wrong, on one line: its pictures of the
 * query show SQL the user never wrote, and its advice names SQL options. */
static void shorten(struct rwf_str *out, const char *text)
{
    static const char *const ends[] = { "\nLINE ", "\nPossible ", "\n* ",
                                        "\n  file = ", "\nSee also " };
    const char *end = text + strlen(text);
    for (size_t i = 0; i < RWF_COUNT(ends); i++) {
        const char *at = strstr(text, ends[i]);
        if (at != NULL && at < end)
            end = at;
    }
    for (const char *p = text; p < end; p++) {
        char last = out->len > 0 ? out->data[out->len - 1] : ' ';
        if (*p == '\n' && last != ' ')
            rwf_str_add(out, strchr("!.:", last) != NULL ? " " : "; ");
        else if (*p != '\n' && *p != '\t' && *p != '\r')
            rwf_str_addc(out, *p);
    }
    while (out->len > 0 && strchr("\n.; ", out->data[out->len - 1]) != NULL)
        out->data[--out->len] = '\0';
    const char *file = strstr(end, "\n  file = ");
    if (file != NULL)
        rwf_str_addf(out, "; file %.*s", (int)strcspn(file + 10, "\n"), file + 10);
}

/* Tells why (may be NULL), in our words. */
static void fail_with(struct duck *d, const char *why, struct rwf_err *err)
{
    struct rwf_str text = { 0 };
    const char *line = why != NULL ? strstr(why, "\nLINE ") : NULL;
    d->error_line = line != NULL ? atoi(line + 6) : 0;
    shorten(&text, why != NULL ? why : "DuckDB failed without saying why");
    int code = strstr(text.data, "No files found") != NULL ? RWF_E_INPUT : RWF_E_FAILED;
    rwf_fail(err, code, "%s", text.data);
    rwf_str_free(&text);
}

static int query_failed(struct duck *d, duckdb_result *result, struct rwf_err *err)
{
    fail_with(d, api.result_error(result), err);
    api.destroy_result(result);
    return -1;
}

static int exec(struct duck *d, const char *sql, int64_t *ret_rows, struct rwf_err *err)
{
    duckdb_result result;
    memset(&result, 0, sizeof(result));
    if (api.query(d->connection, sql, &result) != DuckDBSuccess)
        return query_failed(d, &result, err);
    if (ret_rows != NULL)
        *ret_rows = (int64_t)api.rows_changed(&result);
    api.destroy_result(&result);
    return 0;
}

int duck_exec(struct duck *d, const char *sql, struct rwf_err *err)
{
    return exec(d, sql, NULL, err);
}

/* --- in a thread, with progress --- */

struct job {
    struct duck *duck;
    const char *sql;
    struct rwf_err err;
    int r;
    int64_t rows;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
};

static void *job_main(void *arg)
{
    struct job *job = arg;
    job->r = exec(job->duck, job->sql, &job->rows, &job->err);
    pthread_mutex_lock(&job->lock);
    job->done = true;
    pthread_cond_signal(&job->ended);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

static bool job_wait(struct job *job, int64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t nsec = until.tv_nsec + ns;
    until.tv_sec += nsec / RWF_NS_PER_S;
    until.tv_nsec = nsec % RWF_NS_PER_S;
    pthread_mutex_lock(&job->lock);
    if (!job->done)
        pthread_cond_timedwait(&job->ended, &job->lock, &until);
    bool done = job->done;
    pthread_mutex_unlock(&job->lock);
    return done;
}

int duck_exec_progress(struct duck *d, const char *sql,
                       void (*tick)(void *ctx, double progress, int64_t rows),
                       void *ctx, int64_t *ret_rows, struct rwf_err *err)
{
    struct job job = { .duck = d, .sql = sql, .lock = PTHREAD_MUTEX_INITIALIZER,
                       .ended = PTHREAD_COND_INITIALIZER };
    pthread_t thread;
    if (tick == NULL)
        return exec(d, sql, ret_rows, err);
    int e = pthread_create(&thread, NULL, job_main, &job);
    if (e != 0)
        return rwf_fail(err, e, "a thread for the query: %s", strerror(e));
    while (!job_wait(&job, DUCK_TICK_NS)) {
        duckdb_query_progress_type p = api.query_progress(d->connection);
        if (p.percentage >= 0)
            tick(ctx, p.percentage / 100, (int64_t)p.rows_processed);
    }
    pthread_join(thread, NULL);
    pthread_cond_destroy(&job.ended);
    pthread_mutex_destroy(&job.lock);
    if (job.r < 0)
        return rwf_fail(err, job.err.code, "%s", job.err.text);
    if (ret_rows != NULL)
        *ret_rows = job.rows;
    return 0;
}

/* --- results --- */

#define INTEGER_CASE(type, ctype) \
    case type: \
        return json_integer((json_int_t)((const ctype *)data)[row]);

static json_t *cell(duckdb_type type, duckdb_vector vector, idx_t row)
{
    uint64_t *validity = api.vector_get_validity(vector);
    const void *data = api.vector_get_data(vector);
    if (validity != NULL && !api.validity_row_is_valid(validity, row))
        return json_null();
    switch (type) {
        INTEGER_CASE(DUCKDB_TYPE_TINYINT, int8_t)
        INTEGER_CASE(DUCKDB_TYPE_SMALLINT, int16_t)
        INTEGER_CASE(DUCKDB_TYPE_INTEGER, int32_t)
        INTEGER_CASE(DUCKDB_TYPE_BIGINT, int64_t)
        INTEGER_CASE(DUCKDB_TYPE_UBIGINT, uint64_t)
    case DUCKDB_TYPE_BOOLEAN:
        return json_boolean(((const bool *)data)[row]);
    case DUCKDB_TYPE_DOUBLE:
        return json_real(((const double *)data)[row]);
    case DUCKDB_TYPE_VARCHAR: {
        duckdb_string_t text = ((const duckdb_string_t *)data)[row];
        json_t *value =
            json_stringn(api.string_t_data(&text), api.string_t_length(text));
        return value != NULL ? value : json_string("(not text)");
    }
    default:
        rwf_assert(!"a query of ours gives a type that duck.h does not name");
        return NULL;
    }
}

static void add_chunk(duckdb_result *result, duckdb_data_chunk chunk, int limit,
                      bool named, json_t *rows)
{
    idx_t columns = api.column_count(result);
    for (idx_t row = 0; row < api.data_chunk_get_size(chunk); row++) {
        if (limit >= 0 && json_array_size(rows) >= (size_t)limit)
            return;
        json_t *out = named ? json_object() : json_array();
        for (idx_t c = 0; c < columns; c++) {
            json_t *value = cell(api.column_type(result, c),
                                 api.data_chunk_get_vector(chunk, c), row);
            if (named)
                json_object_set_new(out, api.column_name(result, c), value);
            else
                json_array_append_new(out, value);
        }
        json_array_append_new(rows, out);
    }
}

static json_t *fetch(struct duck *d, const char *sql, int limit, bool named,
                     struct rwf_err *err)
{
    duckdb_result result;
    duckdb_data_chunk chunk;
    memset(&result, 0, sizeof(result));
    if (api.query(d->connection, sql, &result) != DuckDBSuccess) {
        query_failed(d, &result, err);
        return NULL;
    }
    json_t *rows = json_array();
    while ((chunk = api.fetch_chunk(result)) != NULL) {
        add_chunk(&result, chunk, limit, named, rows);
        api.destroy_data_chunk(&chunk);
    }
    api.destroy_result(&result);
    return rows;
}

json_t *duck_rows(struct duck *d, const char *sql, int limit, struct rwf_err *err)
{
    return fetch(d, sql, limit, true, err);
}

json_t *duck_lists(struct duck *d, const char *sql, struct rwf_err *err)
{
    return fetch(d, sql, -1, false, err);
}

json_t *duck_row(struct duck *d, const char *sql, struct rwf_err *err)
{
    json_t *rows = fetch(d, sql, 1, false, err);
    if (rows == NULL)
        return NULL;
    json_t *row = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    if (row == NULL)
        rwf_fail(err, RWF_E_FAILED, "the query gave no row");
    return row;
}

/* --- columns, as they come --- */

/* -1 for a type that streams do not carry. */
static int stream_type(duckdb_type type)
{
    switch (type) {
    case DUCKDB_TYPE_INTEGER:
        return DUCK_INT32;
    case DUCKDB_TYPE_BIGINT:
        return DUCK_INT64;
    case DUCKDB_TYPE_FLOAT:
        return DUCK_FLOAT;
    case DUCKDB_TYPE_DOUBLE:
        return DUCK_DOUBLE;
    case DUCKDB_TYPE_BOOLEAN:
        return DUCK_BOOL;
    case DUCKDB_TYPE_VARCHAR:
        return DUCK_TEXT;
    default:
        return -1;
    }
}

static int stream_types(duckdb_result *result, struct duck_column *columns,
                        size_t count, struct rwf_err *err)
{
    for (size_t i = 0; i < count; i++) {
        int type = stream_type(api.column_type(result, i));
        if (type < 0)
            return rwf_fail(err, RWF_E_FAILED,
                            "column %s is of a type that must be cast before it is read",
                            api.column_name(result, i));
        columns[i].type = (enum duck_type)type;
    }
    return 0;
}

/* The callback for every chunk of an open streaming result. */
static int stream_chunks(struct duck *d, duckdb_result *result, duck_chunk_fn each,
                         void *ctx, struct rwf_err *err)
{
    size_t count = api.column_count(result);
    duckdb_data_chunk chunk;
    struct duck_column *columns = rwf_xcalloc(count + 1, sizeof(*columns));
    int r = stream_types(result, columns, count, err);
    while (r == 0 && (chunk = api.fetch_chunk(*result)) != NULL) {
        for (size_t i = 0; i < count; i++) {
            duckdb_vector vector = api.data_chunk_get_vector(chunk, i);
            columns[i].data = api.vector_get_data(vector);
            columns[i].valid = api.vector_get_validity(vector);
        }
        r = each(ctx, columns, (int64_t)api.data_chunk_get_size(chunk), err);
        api.destroy_data_chunk(&chunk);
    }
    free(columns);
    if (r < 0 || api.result_error(result) == NULL) {
        api.destroy_result(result);
        return r;
    }
    return query_failed(d, result, err); /* the stream broke off */
}

int duck_stream(struct duck *d, const char *sql, duck_chunk_fn each, void *ctx,
                struct rwf_err *err)
{
    duckdb_prepared_statement statement = NULL;
    duckdb_result result;
    int r = -1;
    memset(&result, 0, sizeof(result));
    if (api.prepare(d->connection, sql, &statement) != DuckDBSuccess)
        fail_with(d, api.prepare_error(statement), err);
    else if (api.execute_prepared_streaming(statement, &result) != DuckDBSuccess)
        query_failed(d, &result, err);
    else
        r = stream_chunks(d, &result, each, ctx, err);
    api.destroy_prepare(&statement);
    return r;
}

const char *duck_text(const struct duck_column *c, int64_t row, size_t *ret_len)
{
    duckdb_string_t *text = &((duckdb_string_t *)(uintptr_t)c->data)[row];
    *ret_len = api.string_t_length(*text);
    return api.string_t_data(text);
}

double duck_progress(const struct duck *d)
{
    double percent = api.query_progress(d->connection).percentage;
    return percent >= 0 ? percent / 100 : -1;
}

int duck_error_line(const struct duck *d)
{
    return d->error_line;
}

const char *duck_version(struct rwf_err *err)
{
    return open_library(err) == 0 ? api.library_version() : NULL;
}

const char *duck_library(void)
{
    return api.library;
}

#endif /* HAVE_DUCKDB; else duck_none.c */

/* What a process that uses DuckDB takes beside what DuckDB counts, and what it then
 * needs at least; measured with sorts and readers on one and on two threads. */
#define DUCK_MEMORY_BESIDE (96 << 20)
#define DUCK_MEMORY_MIN (32 << 20)
#define DUCK_MEMORY_THREAD (112 << 20) /* below it a thread more does harm */

int duck_limit(struct duck_options *options, int64_t memory, int cores,
               struct rwf_err *err)
{
    options->threads = cores;
    if (memory <= 0)
        return 0;
    options->memory = memory - DUCK_MEMORY_BESIDE;
    if (options->memory < DUCK_MEMORY_MIN)
        return rwf_fail(err, RWF_E_FIT,
                        "resources.memory: a dataset needs at least 128MiB");
    int64_t threads = options->memory / DUCK_MEMORY_THREAD;
    if (threads < cores)
        options->threads = threads > 1 ? (int)threads : 1;
    return 0;
}

int duck_int(struct duck *d, const char *sql, int64_t *ret, struct rwf_err *err)
{
    json_t *row = duck_row(d, sql, err);
    if (row == NULL)
        return -1;
    *ret = json_integer_value(json_array_get(row, 0));
    json_decref(row);
    return 0;
}
