/* SPDX-License-Identifier: Apache-2.0
 *
 * The index: one row per run, with the size of the log it was made from. A row is made
 * again when that size differs or the run had not ended, so each log is read once after
 * its end. An index that cannot be opened, is damaged or has another layout is deleted;
 * where none can be written, one in memory serves.
 */
#include "config.h"
#include "run/index.h"

#include <dirent.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/engine.h"
#include "run/layout.h"
#include "run/state.h"

#define LAYOUT 1 /* of the table: raise it when the table changes */
#define BUSY_MS 5000

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS run (id TEXT PRIMARY KEY, size INTEGER NOT NULL,"
    " ended INTEGER NOT NULL, started INTEGER NOT NULL, data TEXT NOT NULL) WITHOUT "
    "ROWID;"
    "CREATE INDEX IF NOT EXISTS run_by_start ON run (started DESC, id DESC);"
    "PRAGMA user_version = 1";

static int exec(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    return sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK ? stmt : NULL;
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = prepare(db, sql);
    int64_t value = stmt != NULL && sqlite3_step(stmt) == SQLITE_ROW
                        ? sqlite3_column_int64(stmt, 0)
                        : -1;
    sqlite3_finalize(stmt);
    return value;
}

/* An index that answers, or NULL. It is derived: losing it in a crash costs nothing. */
static sqlite3 *try_open(const char *path)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) == SQLITE_OK) {
        sqlite3_busy_timeout(db, BUSY_MS);
        int64_t layout = number(db, "PRAGMA user_version");
        if ((layout == 0 || layout == LAYOUT) &&
            exec(db, "PRAGMA synchronous = OFF") == 0 &&
            (layout == LAYOUT || exec(db, schema) == 0) &&
            number(db, "SELECT count(*) FROM run") >= 0)
            return db;
    }
    sqlite3_close(db);
    return NULL;
}

static sqlite3 *open_index(const char *root, struct rwf_err *err)
{
    char *path = rwf_fs_join(root, "index.sqlite");
    char *journal = rwf_fs_join(root, "index.sqlite-journal");
    sqlite3 *db = try_open(path);
    if (db == NULL) {
        (void)unlink(path);
        (void)unlink(journal);
        db = try_open(path);
    }
    if (db == NULL)
        db = try_open(":memory:");
    if (db == NULL)
        rwf_fail(err, RWF_E_ENV, "%s: cannot be opened, nor an index in memory", path);
    free(journal);
    free(path);
    return db;
}

/* --- one run --- */

static json_t *counts_of(const struct run_state *s)
{
    json_t *counts = json_object();
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        if (s->counts[i] > 0)
            json_object_set_new(counts, schedule_state_name(i),
                                json_integer((json_int_t)s->counts[i]));
    return counts;
}

static json_t *time_of(int64_t wall)
{
    char text[RWF_TIME_LEN];
    if (wall <= 0)
        return json_null();
    rwf_clock_format(wall, text);
    return json_string(text);
}

static json_t *describe(const char *root, const char *id, const struct run_state *s)
{
    const char *status = s->status;
    if (s->exit_code < 0 && engine_active(root, id) == 0)
        status = "interrupted";
    return json_pack("{s:s, s:s?, s:s?, s:s, s:o, s:o, s:o, s:I, s:o}", "id", id,
                     "name", s->name, "recipe", s->recipe, "status", status, "started",
                     time_of(s->started), "ended", time_of(s->ended), "exit_code",
                     s->exit_code < 0 ? json_null() : json_integer(s->exit_code),
                     "steps", (json_int_t)s->total, "counts", counts_of(s));
}

/* A log that cannot be replayed is listed as such, not hidden. */
static json_t *describe_damaged(const char *id, const struct rwf_err *err)
{
    return json_pack("{s:s, s:n, s:n, s:s, s:n, s:n, s:n, s:i, s:{}, s:s}", "id", id,
                     "name", "recipe", "status", "damaged", "started", "ended",
                     "exit_code", "steps", 0, "counts", "message", err->text);
}

static void store(sqlite3_stmt *insert, const char *id, int64_t size, bool ended,
                  int64_t started, const json_t *data)
{
    char *text = json_dumps(data, JSON_COMPACT);
    sqlite3_reset(insert);
    sqlite3_bind_text(insert, 1, id, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(insert, 2, size);
    sqlite3_bind_int(insert, 3, ended);
    sqlite3_bind_int64(insert, 4, started);
    sqlite3_bind_text(insert, 5, text == NULL ? "{}" : text, -1, SQLITE_TRANSIENT);
    if (sqlite3_step(insert) != SQLITE_DONE)
        rwf_log(RWF_LOG_WARN, "index", "cannot store run %s", id);
    free(text);
}

static void read_run(const char *root, const char *id, int64_t size,
                     sqlite3_stmt *insert)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = run_log_path(root, id);
    struct run_state *s = run_state_load(path, &err);
    json_t *data = s == NULL ? describe_damaged(id, &err) : describe(root, id, s);
    store(insert, id, size, s != NULL && s->exit_code >= 0, s == NULL ? 0 : s->started,
          data);
    json_decref(data);
    run_state_destroy(s);
    free(path);
}

static bool is_current(sqlite3_stmt *find, const char *id, int64_t size)
{
    sqlite3_reset(find);
    sqlite3_bind_text(find, 1, id, -1, SQLITE_TRANSIENT);
    return sqlite3_step(find) == SQLITE_ROW && sqlite3_column_int64(find, 0) == size &&
           sqlite3_column_int(find, 1) != 0;
}

/* --- all runs --- */

static void refresh(const char *root, const char *runs, DIR *dir, sqlite3_stmt *find,
                    sqlite3_stmt *insert, sqlite3_stmt *mark)
{
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        struct stat st;
        char *path = rwf_xasprintf("%s/%s/events.ndjson", runs, entry->d_name);
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, "last") != 0 &&
            stat(path, &st) == 0) {
            if (!is_current(find, entry->d_name, st.st_size))
                read_run(root, entry->d_name, st.st_size, insert);
            sqlite3_reset(mark);
            sqlite3_bind_text(mark, 1, entry->d_name, -1, SQLITE_TRANSIENT);
            (void)sqlite3_step(mark);
        }
        free(path);
    }
}

/* Adds what is new, takes out what is gone. */
static int update(sqlite3 *db, const char *root, struct rwf_err *err)
{
    char *runs = rwf_fs_join(root, "runs");
    DIR *dir = opendir(runs);
    sqlite3_stmt *find = NULL, *insert = NULL, *mark = NULL;
    int result = -1;
    if (exec(db, "BEGIN IMMEDIATE; CREATE TEMP TABLE IF NOT EXISTS seen (id TEXT "
                 "PRIMARY KEY)"
                 " WITHOUT ROWID; DELETE FROM seen") == 0 &&
        (find = prepare(db, "SELECT size, ended FROM run WHERE id = ?")) != NULL &&
        (insert = prepare(db, "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?)")) !=
            NULL &&
        (mark = prepare(db, "INSERT OR IGNORE INTO seen VALUES (?)")) != NULL) {
        if (dir != NULL)
            refresh(root, runs, dir, find, insert, mark);
        sqlite3_reset(find);
        result =
            exec(db, "DELETE FROM run WHERE id NOT IN (SELECT id FROM seen); COMMIT");
    }
    if (result != 0)
        rwf_fail(err, RWF_E_ENV, "%s/index.sqlite: %s", root, sqlite3_errmsg(db));
    sqlite3_finalize(find);
    sqlite3_finalize(insert);
    sqlite3_finalize(mark);
    if (dir != NULL)
        closedir(dir);
    free(runs);
    return result;
}

static int list(sqlite3 *db, int limit, void (*fn)(void *, const json_t *), void *ctx)
{
    sqlite3_stmt *stmt =
        prepare(db, "SELECT data FROM run ORDER BY started DESC, id DESC"
                    " LIMIT ?");
    if (stmt == NULL)
        return -1;
    sqlite3_bind_int(stmt, 1, limit > 0 ? limit : -1);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(stmt, 0);
        json_t *run = text == NULL ? NULL : json_loads(text, 0, NULL);
        if (json_is_object(run))
            fn(ctx, run);
        json_decref(run);
    }
    return sqlite3_finalize(stmt) == SQLITE_OK ? 0 : -1;
}

int run_index_each(const char *root, int limit,
                   void (*fn)(void *ctx, const json_t *run), void *ctx,
                   struct rwf_err *err)
{
    sqlite3 *db = open_index(root, err);
    if (db == NULL)
        return -1;
    int result = update(db, root, err);
    if (result != 0) {
        /* Read-only, full or just now broken: the list is made all the same. */
        sqlite3_close(db);
        db = try_open(":memory:");
        result = db == NULL ? -1 : update(db, root, err);
    }
    if (result == 0 && list(db, limit, fn, ctx) != 0)
        result =
            rwf_fail(err, RWF_E_ENV, "%s/index.sqlite: %s", root, sqlite3_errmsg(db));
    sqlite3_close(db);
    return result;
}
