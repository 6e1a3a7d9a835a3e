/* SPDX-License-Identifier: Apache-2.0
 *
 * Results by number, kept as they come in any order, so that whoever continues after a
 * crash repeats only what is missing: lines "NUMBER<tab>JSON", of which a torn last one
 * does not count.
 */
#ifndef RWF_DATA_SPOOL_H
#define RWF_DATA_SPOOL_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

struct spool;

/* For count results, beginning with what the file has already. */
struct spool *spool_open(const char *path, size_t count, struct rwf_err *err);
void spool_close(struct spool *s);
bool spool_has(const struct spool *s, size_t number);
size_t spool_count(const struct spool *s);
/* Keeps JSON text without newlines. */
int spool_add(struct spool *s, size_t number, const char *json, size_t len,
              struct rwf_err *err);
/* All results in order, each as one line; or, when lists, each of them a list of which
 * each item is a line. Every one must be there. */
int spool_write(struct spool *s, const char *path, bool lists, struct rwf_err *err);

#endif
