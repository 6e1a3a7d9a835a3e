/* SPDX-License-Identifier: Apache-2.0
 *
 * Redaction by value: every occurrence of a secret's value becomes "[secret:NAME]". Values
 * shorter than 4 bytes are refused (they would redact everything). One process-wide
 * set, filled when secrets are read; every sink passes its text through it.
 */
#ifndef RWF_BASE_REDACT_H
#define RWF_BASE_REDACT_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "base/str.h"

int rwf_redact_add(const char *name, const char *value, struct rwf_err *err);
bool rwf_redact_active(void);
/* Grows with every value added: redacted text that was kept is good while it stands still. */
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
