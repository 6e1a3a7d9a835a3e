/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_SERVE_ERROR_BODY_H
#define RWF_SERVE_ERROR_BODY_H
#include "base/str.h"

/* {"error": {"message", "type", "param", "code"}} as the front's own errors are. */
void serve__error_body(struct rwf_str *to, int status, const char *message);

#endif
