/* SPDX-License-Identifier: Apache-2.0
 *
 * What a daemon must not lose, as lines of JSON: "CHECKSUM {record}". Appended; what is
 * synced is there after a crash of the machine, the rest after one of the daemon. A line
 * that was torn, or damaged, is left out and said.
 */
#ifndef RWF_BASE_JOURNAL_H
#define RWF_BASE_JOURNAL_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"

struct rwf_journal;

/* Opens folder/journal, alone; calls fn with each record that is there. */
struct rwf_journal *rwf_journal_open(const char *folder,
                                         void (*fn)(void *ctx, const json_t *record),
                                         void *ctx, struct rwf_err *err);
/* Puts records (an array) in the place of all that was there. */
int rwf_journal_rewrite(struct rwf_journal *j, const json_t *records,
                          struct rwf_err *err);
/* Takes record. Without a journal (NULL): nothing happens. */
int rwf_journal_add(struct rwf_journal *j, json_t *record, bool sync,
                      struct rwf_err *err);
void rwf_journal_close(struct rwf_journal *j);

#endif
