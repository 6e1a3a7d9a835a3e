/* SPDX-License-Identifier: Apache-2.0
 *
 * Redaction by value: every occurrence of a secret's value becomes "[secret:NAME]". Values
 * shorter than 4 bytes are refused (they would redact everything). One process-wide
 * set, filled when secrets are read (a node adds those of the steps that others start
 * there, and drops them with the step); every sink passes its text through it, from any
 * thread.
 */
#ifndef RWF_BASE_REDACT_H
#define RWF_BASE_REDACT_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "base/str.h"

/* The same name and value once more is kept once, and counted. */
int rwf_redact_add(const char *name, const char *value, struct rwf_err *err);
/* Takes one add back; after the last one the value is forgotten and wiped. */
void rwf_redact_drop(const char *name, const char *value);
/* Every value that was added. fn must not add or drop. */
void rwf_redact_each(void (*fn)(void *ctx, const char *name, const char *value),
                     void *ctx);
bool rwf_redact_active(void);
/* Grows with every new value: redacted text that was kept is good while it stands still. */
size_t rwf_redact_count(void);
/* Appends text[0..len) to out, redacted. */
void rwf_redact(struct rwf_str *out, const char *text, size_t len);
/* For streams: as above, but keeps back up to the longest secret's length - 1 bytes in
 * *held until the next call, so that a value cut in two is still found; final: flush. */
void rwf_redact_stream(struct rwf_str *held, struct rwf_str *out, const char *bytes,
                       size_t len, bool final);
/* Forgets and wipes all values. */
void rwf_redact_clear(void);

#endif
