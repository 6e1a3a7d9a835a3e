/* SPDX-License-Identifier: Apache-2.0
 *
 * What the head must not lose, as lines of JSON: "CHECKSUM {record}". Appended; what is
 * synced is there after a crash of the machine, the rest after one of the head. A line
 * that was torn, or damaged, is left out and said.
 */
#ifndef RWF_HEAD_JOURNAL_H
#define RWF_HEAD_JOURNAL_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"

struct head__journal;

/* Opens folder/journal, alone; calls fn with each record that is there. */
struct head__journal *head__journal_open(const char *folder,
                                         void (*fn)(void *ctx, const json_t *record),
                                         void *ctx, struct rwf_err *err);
/* Puts records (an array) in the place of all that was there. */
int head__journal_rewrite(struct head__journal *j, const json_t *records,
                          struct rwf_err *err);
/* Takes record. Without a journal (NULL): nothing happens. */
int head__journal_add(struct head__journal *j, json_t *record, bool sync,
                      struct rwf_err *err);
void head__journal_close(struct head__journal *j);

#endif
