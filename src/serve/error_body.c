/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "serve/error_body.h"

#include <jansson.h>
#include <stdlib.h>

void serve__error_body(struct rwf_str *to, int status, const char *message)
{
    json_t *text = json_string(message);
    char *quoted = text != NULL ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    const char *unknown = status < 500 ? "\"the request is not valid\""
                                       : "\"the error's text is no UTF-8\"";
    rwf_str_addf(to, "{\"error\":{\"message\":%s,\"type\":\"%s\",\"param\":null,\"code\":null}}",
                 quoted != NULL ? quoted : unknown,
                 status < 500 ? "invalid_request_error" : "server_error");
    free(quoted);
    json_decref(text);
}
