/* SPDX-License-Identifier: Apache-2.0
 * A request's text. */
#ifndef RWF_HTTP_COMPOSE_H
#define RWF_HTTP_COMPOSE_H
#include "base/str.h"
#include "http/client.h"

/* Adds it to out. EINVAL when it would be another one than was meant. */
int http__compose(struct rwf_str *out, const struct http_call_options *o,
                  struct rwf_err *err);

#endif
