/* SPDX-License-Identifier: Apache-2.0
 *
 * The step is a process of its own and a driver of the run's runtime: rows become JSON
 * lines (through DuckDB unless they are), each is the argument of a call, so many are
 * under way at once, and what came back is kept in a spool beside the attempts of the
 * step. Another attempt of the same content begins with what the spool has.
 *
 * The spec is op_native's with "rows". A call gets {"row": {…}, …args}, or with batch
 * {"rows": [{…}, …], …args} and must then return a list of as many results.
 */
#include "config.h"
#include "data/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/json_text.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/duck.h"
#include "data/read.h"
#include "data/spool.h"
#include "data/sql.h"
#include "native/raywf.h"
#include "plan/builtin.h"
#include "plan/graph.h"

#define WINDOW 256 /* calls under way, unless max_parallel says */
#define TICK (250 * RWF_NS_PER_MS)

struct flight {
    size_t call;
    struct raywf_ref ref;
};

struct rows {
    const struct op_run *run;
    const json_t *spec;
    /* The rows: a mapped file and where its lines begin. */
    char *text;
    size_t size;
    size_t *lines; /* and one more: the end */
    size_t line_count, line_cap;
    size_t batch, calls; /* rows in a call; how many calls that makes */
    char *rest;          /* of the argument, after the rows: ,"a":1} */
    struct spool *spool;
    char *spool_path;
    struct raywf_task *task;
    struct flight *flights;
    size_t window, flying, next;
    int64_t told;
};

/* --- the rows --- */

static int convert(struct rows *x, const char *from, const char *to,
                   struct rwf_err *err)
{
    const struct duck_options options = {
        .memory = x->run->memory, .threads = 0, .temp_dir = x->run->dir};
    json_t *read = json_pack("{s:s}", "path", from);
    struct rwf_str sql = {0};
    struct duck *duck = duck_open(&options, err);
    int64_t bytes = 0;
    int rc = -1;

    rwf_str_add(&sql, "COPY (");
    if (duck != NULL && read_add_sql(duck, read, &sql, &bytes, err) == 0) {
        rwf_str_add(&sql, ") TO ");
        sql_add_text(&sql, to);
        rwf_str_add(&sql, " (FORMAT json)");
        rc = duck_exec(duck, sql.data, err);
    }
    duck_close(duck);
    rwf_str_free(&sql);
    json_decref(read);
    return rc;
}

static int map_rows(struct rows *x, const char *path, struct rwf_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map = MAP_FAILED;

    if (fd < 0 || fstat(fd, &st) != 0) {
        rwf_fail(err, RWF_E_INPUT, "%s: %s", path, strerror(errno));
        goto out;
    }
    x->size = (size_t)st.st_size;
    if (x->size == 0) {
        close(fd);
        return 0;
    }
    map = mmap(NULL, x->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    else
        x->text = map;
out:
    if (fd >= 0)
        close(fd);
    return x->text != NULL ? 0 : -1;
}

static bool is_blank(const char *text, size_t len)
{
    return strspn(text, " \t\r") >= len;
}

/* A blank line is no row. */
static void find_lines(struct rows *x)
{
    for (size_t pos = 0; pos < x->size;) {
        const char *nl = memchr(x->text + pos, '\n', x->size - pos);
        size_t end = nl != NULL ? (size_t)(nl - x->text) : x->size;
        bool blank = end == pos || (nl != NULL && is_blank(x->text + pos, end - pos));
        if (!blank)
            *RWF_PUSH(x->lines, x->line_count, x->line_cap) = pos;
        pos = end + 1;
    }
}

static int load_rows(struct rows *x, struct rwf_err *err)
{
    const char *from = json_string_value(json_object_get(x->spec, "rows"));
    bool as_is = rwf_ends_with(from, ".jsonl") || rwf_ends_with(from, ".ndjson");
    char *lines = as_is ? rwf_xstrdup(from) : rwf_fs_join(x->run->dir, "rows.ndjson");
    int rc = as_is ? 0 : convert(x, from, lines, err);

    if (rc == 0)
        rc = map_rows(x, lines, err);
    if (rc == 0)
        find_lines(x);
    if (!as_is)
        unlink(lines); /* it stays mapped */
    free(lines);
    x->calls = (x->line_count + x->batch - 1) / x->batch;
    return rc;
}

/* --- the spool --- */

static int add_file(struct rwf_digest *d, const char *path, struct rwf_err *err)
{
    char hex[RWF_DIGEST_LEN];

    if (rwf_digest_file(path, hex, NULL, err) != 0) {
        err->code = RWF_E_INPUT;
        return -1;
    }
    rwf_digest_add(d, hex, sizeof(hex));
    return 0;
}

/* RUN/rows/DIGEST: of all that decides the results. */
static int open_spool(struct rows *x, struct rwf_err *err)
{
    char *steps = rwf_fs_dirname(x->run->dir), *run = rwf_fs_dirname(steps);
    char *folder = rwf_fs_join(run, "rows"), hex[RWF_DIGEST_LEN];
    struct rwf_digest *d = rwf_digest_create();
    json_t *spec = json_copy((json_t *)(uintptr_t)x->spec);
    int rc = -1;

    json_object_del(spec, "parallel");
    rwf_digest_json(spec, hex);
    rwf_digest_add(d, hex, sizeof(hex));
    rwf_digest_add(d, x->run->address, strlen(x->run->address));
    if (add_file(d, json_string_value(json_object_get(x->spec, "plugin")), err) == 0 &&
        add_file(d, json_string_value(json_object_get(x->spec, "rows")), err) == 0)
        rc = rwf_fs_mkdirs(folder, err);
    rwf_digest_finish(d, hex);
    x->spool_path = rwf_fs_join(folder, hex);
    if (rc == 0)
        x->spool = spool_open(x->spool_path, x->calls, err);
    json_decref(spec);
    free(folder);
    free(run);
    free(steps);
    return x->spool != NULL ? 0 : -1;
}

/* --- calls --- */

static int fail_row(const struct rows *x, size_t call, struct rwf_err *err,
                    const char *text)
{
    size_t first = call * x->batch + 1, last = first + x->batch - 1;

    if (last > x->line_count)
        last = x->line_count;
    if (first == last)
        return rwf_fail(err, RWF_E_FAILED, "row %zu of %zu: %s", first, x->line_count,
                        text);
    return rwf_fail(err, RWF_E_FAILED, "rows %zu to %zu of %zu: %s", first, last,
                    x->line_count, text);
}

/* Adds one row; NULL text: it is no JSON. */
static int add_row(const struct rows *x, size_t row, struct rwf_str *out)
{
    const char *text = x->text + x->lines[row];
    const char *nl = memchr(text, '\n', x->size - x->lines[row]);
    size_t len = nl != NULL ? (size_t)(nl - text) : x->size - x->lines[row];
    json_t *json = json_loadb(text, len, JSON_DECODE_ANY, NULL);

    if (json == NULL)
        return -1;
    json_decref(json);
    rwf_str_addn(out, text, len);
    return 0;
}

static int make_argument(const struct rows *x, size_t call, struct rwf_str *out,
                         struct rwf_err *err)
{
    bool many = json_object_get(x->spec, "batch") != NULL;
    size_t first = call * x->batch, last = first + x->batch;

    rwf_str_add(out, many ? "{\"rows\":[" : "{\"row\":");
    for (size_t row = first; row < last && row < x->line_count; row++) {
        if (row > first)
            rwf_str_addc(out, ',');
        if (add_row(x, row, out) != 0)
            return fail_row(x, call, err, "it is no JSON");
    }
    rwf_str_add(out, many ? "]" : "");
    rwf_str_add(out, x->rest);
    return 0;
}

static int submit(struct rows *x, size_t call, struct rwf_err *err)
{
    struct flight *f = &x->flights[x->flying];
    struct rwf_str text = {0};
    struct raywf_error why;
    int rc = make_argument(x, call, &text, err);

    f->call = call;
    if (rc == 0 && raywf_submit(x->task, RAYWF_ARGS(RAYWF_BYTES(text.data, text.len)),
                                &f->ref, &why) != 0)
        rc = fail_row(x, call, err, why.text);
    x->flying += rc == 0;
    rwf_str_free(&text);
    return rc;
}

static int keep(struct rows *x, size_t call, const struct raywf_value *value,
                struct rwf_err *err)
{
    bool many = json_object_get(x->spec, "batch") != NULL;
    size_t rows =
        (call + 1) * x->batch <= x->line_count ? x->batch : x->line_count % x->batch;
    const char *text = value->size > 0 ? value->data : "null";
    size_t len = value->size > 0 ? value->size : 4;
    json_t *json = json_loadb(text, len, JSON_DECODE_ANY, NULL);
    char *line = NULL;
    int rc;

    if (json == NULL)
        return fail_row(x, call, err, "what the function returned is no JSON");
    if (many && (!json_is_array(json) || json_array_size(json) != rows))
        rc = fail_row(x, call, err,
                      "with batch, the function returns a list with one result for "
                      "each row");
    else if (memchr(text, '\n', len) == NULL)
        rc = spool_add(x->spool, call, text, len, err);
    else if ((line = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY)) != NULL)
        rc = spool_add(x->spool, call, line, strlen(line), err);
    else
        rc = fail_row(x, call, err, "what the function returned cannot be a line");
    free(line);
    json_decref(json);
    return rc;
}

static int take(struct rows *x, struct flight *f, struct rwf_err *err)
{
    struct raywf_value value;
    struct raywf_error why;
    int rc;

    if (raywf_get(f->ref, RAYWF_FOREVER, &value, &why) != 0)
        return fail_row(x, f->call, err, why.text);
    rc = keep(x, f->call, &value, err);
    raywf_release(&value);
    return rc;
}

/* Takes in what is done. */
static int collect(struct rows *x, struct rwf_err *err)
{
    struct raywf_ref *refs = rwf_xcalloc(x->flying + 1, sizeof(*refs));
    bool *ready = rwf_xcalloc(x->flying + 1, sizeof(*ready));
    struct raywf_error why;
    size_t left = 0;
    int rc = 0;

    for (size_t i = 0; i < x->flying; i++)
        refs[i] = x->flights[i].ref;
    if (raywf_wait(refs, x->flying, 1, TICK, ready, &why) < 0)
        rc = rwf_fail(err, RWF_E_FAILED, "%s", why.text);
    for (size_t i = 0; i < x->flying; i++) {
        if (rc != 0 || !ready[i]) {
            x->flights[left++] = x->flights[i];
            continue;
        }
        rc = take(x, &x->flights[i], err);
        raywf_drop(x->flights[i].ref);
    }
    x->flying = left;
    free(ready);
    free(refs);
    return rc;
}

static void tell(struct rows *x, bool now)
{
    size_t rows = spool_count(x->spool) * x->batch;
    int64_t clock = rwf_clock_mono();

    if (!now && clock - x->told < TICK)
        return;
    x->told = clock;
    rows = rows > x->line_count ? x->line_count : rows;
    double share = x->line_count > 0 ? (double)rows / (double)x->line_count : 1;
    json_t *line = json_pack("{s:f, s:I}", "progress", share, "rows", (json_int_t)rows);
    x->run->report(x->run, line);
    json_decref(line);
}

static int call_all(struct rows *x, struct rwf_err *err)
{
    while (x->next < x->calls || x->flying > 0) {
        for (; x->flying < x->window && x->next < x->calls; x->next++)
            if (!spool_has(x->spool, x->next) && submit(x, x->next, err) != 0)
                return -1;
        if (x->flying > 0 && collect(x, err) != 0)
            return -1;
        tell(x, false);
    }
    tell(x, true);
    return 0;
}

/* --- the runtime --- */

static int start(struct rows *x, struct rwf_err *err)
{
    const struct raywf_options options = {.job = x->run->address};
    const json_t *resources = x->run->resources, *env;
    json_t *value;
    const json_t *custom = json_object_get(resources, "custom");
    size_t n = 0, k = 0;
    const char *name;
    struct raywf_error why = {0};

    env = json_object_get(x->spec, "env");
    const char **vars = rwf_xcalloc(json_object_size(env) + 1, sizeof(*vars));
    struct raywf_resource *list =
        rwf_xcalloc(json_object_size(custom) + 1, sizeof(*list));
    json_object_foreach((json_t *)(uintptr_t)env, name, value)
        if (json_is_string(value))
            vars[n++] = rwf_xasprintf("%s=%s", name, json_string_value(value));
    json_object_foreach((json_t *)(uintptr_t)custom, name, value)
        list[k++] = (struct raywf_resource){name, json_number_value(value)};
    struct raywf_task_options o = {
        .resources = {.cpu = x->run->cpu > 0 ? x->run->cpu : -1,
                      .gpu = json_number_value(json_object_get(resources, "gpu")),
                      .memory = x->run->memory,
                      .custom = list},
        .env = vars,
    };
    if (raywf_init(&options, &why) == 0)
        x->task = raywf_task(json_string_value(json_object_get(x->spec, "plugin")),
                             json_string_value(json_object_get(x->spec, "function")),
                             &o, &why);
    while (n > 0)
        free((char *)(uintptr_t)vars[--n]);
    free(list);
    free(vars);
    return x->task != NULL ? 0 : rwf_fail(err, RWF_E_ENV, "%s", why.text);
}

/* {"a":1} -> ,"a":1} */
static int make_rest(struct rows *x, struct rwf_err *err)
{
    const json_t *args = json_object_get(x->spec, "args");

    if (!json_is_object(args))
        return rwf_fail(err, RWF_E_RECIPE,
                        "with rows, args is a map: the row is added to it");
    char *text = rwf_json_text(args);
    x->rest = rwf_xasprintf("%s%s", json_object_size(args) > 0 ? "," : "", text + 1);
    free(text);
    return 0;
}

static int finish(struct rows *x, struct rwf_err *err)
{
    char *result = rwf_fs_join(x->run->dir, "result.ndjson");
    bool lists = json_object_get(x->spec, "batch") != NULL;
    int rc = spool_write(x->spool, result, lists, err);

    free(result);
    return rc;
}

static void rows_free(struct rows *x)
{
    spool_close(x->spool);
    if (x->text != NULL)
        munmap(x->text, x->size);
    free(x->lines);
    free(x->flights);
    free(x->spool_path);
    free(x->rest);
}

static int run(struct op_run *r, struct rwf_err *err)
{
    struct rows x = {.run = r, .spec = r->spec, .batch = 1};
    json_int_t parallel = json_integer_value(json_object_get(x.spec, "parallel"));
    json_int_t batch = json_integer_value(json_object_get(x.spec, "batch"));
    int rc = -1;

    x.batch = batch > 0 ? (size_t)batch : 1;
    x.window = parallel > 0 ? (size_t)parallel : WINDOW;
    x.flights = rwf_xcalloc(x.window, sizeof(*x.flights));
    if (make_rest(&x, err) == 0 && load_rows(&x, err) == 0 &&
        open_spool(&x, err) == 0 && start(&x, err) == 0) {
        rc = call_all(&x, err);
        if (rc == 0)
            rc = finish(&x, err);
        raywf_shutdown();
    }
    if (rc == 0)
        unlink(x.spool_path);
    rows_free(&x);
    return rc;
}

const struct op rows_op = {
    .name = "rows",
    .section = "tasks",
    .summary = "a function of a plugin for each row of a dataset, on many workers",
    .version = 1,
    .leased = true,
    .serves = plan_native_has_rows,
    .validate = plan_native_validate,
    .lower = plan_lower_one,
    .outputs = plan_native_outputs,
    .spec = plan_native_spec,
    .inputs = plan_native_inputs,
    .run = run,
};
