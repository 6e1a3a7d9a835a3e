/* SPDX-License-Identifier: Apache-2.0
 *
 * The event log of a run: events.ndjson, append-only, one JSON object a line. Appends
 * are written at once and made durable in groups by a thread of its own (fdatasync): a
 * crash of the process loses nothing written, a crash of the machine nothing synced.
 * Every line is redacted. A torn last line is cut off when the log is opened again.
 */
#ifndef RWF_RUN_LOG_H
#define RWF_RUN_LOG_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum run_event {
#define RUN_EVENT(name, type, fields, help) RUN_##name,
#include "run/events.def"
#undef RUN_EVENT
    RUN_EVENT_COUNT
};
const char *run_event_name(enum run_event e);
/* RUN_EVENT_COUNT when type is unknown: readers ignore such lines. */
enum run_event run_event_parse(const char *type);
const char *run_event_help(enum run_event e);
const char *run_event_fields(enum run_event e);

/* A JSON string of text; bytes that are not UTF-8 become U+FFFD. */
json_t *run_text(const char *text);
/* value with every secret in its strings replaced; caller decrefs. */
json_t *run_redacted(const json_t *value);

struct run_log;

/* Opens or creates; cuts a torn tail; goes on after the last seq. Holds an exclusive
 * lock: RWF_E_USAGE "run is active (pid N)" when another process has it. The pid stands
 * in the file "pid" next to the log and means something only while the lock is held. */
struct run_log *run_log_open(const char *path, struct rwf_err *err);
/* The pid that holds the log at path, 0: none. */
int run_log_holder(const char *path);
/* Waits until all is synced; NULL is fine. */
void run_log_close(struct run_log *log);
/* Takes body (an object); adds seq, ts, type. Buffered until run_log_flush. Secrets are
 * replaced in every string but those that name things of the run itself (step, key, …).
 */
void run_log_append(struct run_log *log, enum run_event type, json_t *body);
/* Writes what is buffered and asks for a sync. -1 when the disk refused (ENOSPC …): the
 * log is then cut back to its last whole line and takes no more. */
int run_log_flush(struct run_log *log, struct rwf_err *err);
/* Blocks until everything flushed so far is on disk. */
int run_log_sync(struct run_log *log, struct rwf_err *err);
/* Called for each event appended, in order, before it is written: views live on this.
 */
typedef void (*run_log_fn)(void *ctx, enum run_event type, const json_t *event);
void run_log_subscribe(struct run_log *log, run_log_fn fn, void *ctx);

/* Reads a whole log, tolerating a torn last line. fn returns non-zero to end early. A
 * damaged line elsewhere: RWF_E_INPUT with its number. *ret_offset (may be NULL): bytes
 * read, to go on from there when following a live log. */
int run_log_read(const char *path, int64_t from,
                 int (*fn)(void *ctx, const json_t *event), void *ctx,
                 int64_t *ret_offset, struct rwf_err *err);

#endif
