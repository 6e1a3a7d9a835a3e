/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "run/notify.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "wire/http.h"

#define TIMEOUT (10 * RWF_NS_PER_S)

static bool wants(const json_t *hook, const char *status)
{
    const json_t *on = json_object_get(hook, "on"), *item;
    size_t i;
    if (json_array_size(on) == 0)
        return true;
    json_array_foreach(on, i, item) {
        const char *want = json_string_value(item);
        if (want != NULL &&
            (strcmp(want, "finished") == 0 || strcmp(want, status) == 0))
            return true;
    }
    return false;
}

static const char *status_of(const json_t *finished)
{
    return json_string_value(json_object_get(finished, "status"));
}

static json_t *body_json(const struct recipe *r, const char *id, const json_t *finished)
{
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:o, s:o}", "v", "1.0", "type", "run.finished", "run", id,
        "name", run_text(recipe_name(r)), "recipe", run_text(recipe_path(r)));
    json_object_update(body, (json_t *)(uintptr_t)finished);
    return body;
}

static json_t *body_slack(const struct recipe *r, const char *id,
                          const json_t *finished)
{
    char duration[RWF_UNITS_LEN];
    const char *status = status_of(finished), *name;
    struct rwf_str text = {NULL, 0, 0};
    json_t *count;
    double seconds = json_number_value(json_object_get(finished, "duration"));
    rwf_duration_format((int64_t)(seconds * 1e9), duration);
    rwf_str_addf(&text, "%s *%s* %s in %s (run %s)",
                 strcmp(status, "succeeded") == 0 ? ":white_check_mark:" : ":x:",
                 recipe_name(r), status, duration, id);
    json_object_foreach(json_object_get(finished, "counts"), name, count)
        rwf_str_addf(&text, "\n• %lld %s", (long long)json_integer_value(count), name);
    json_t *body = json_pack("{s:o}", "text", run_text(text.data));
    rwf_str_free(&text);
    return body;
}

static int send(const char *url, const char *secret, const char *body,
                struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    char *signature = NULL;
    if (secret != NULL) {
        rwf_hmac(secret, body, strlen(body), digest);
        signature = rwf_xasprintf("X-Raywf-Signature: sha256=%s", digest);
    }
    const char *headers[] = {signature, NULL};
    int result =
        http_post(url, "application/json", body, strlen(body), headers, TIMEOUT, err);
    free(signature);
    return result;
}

/* The path of a webhook's URL is often its password. */
static json_t *shown_url(const char *url)
{
    const char *host = strstr(url, "://");
    size_t len = host == NULL ? 0 : (size_t)(host - url) + 3;
    const char *at = strchr(url + len, '@');
    size_t host_len = strcspn(url + len, "/?#");
    if (at != NULL && at < url + len + host_len)
        return json_sprintf("%.*s%.*s/…", (int)len, url,
                            (int)(url + len + host_len - at - 1), at + 1);
    return json_sprintf("%.*s/…", (int)(len + host_len), url);
}

static void notify_one(const json_t *hook, const struct recipe *r, const char *id,
                       const json_t *finished, struct run_log *log)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *url = json_string_value(json_object_get(hook, "url"));
    const char *template = json_string_value(json_object_get(hook, "template"));
    if (url == NULL)
        return;
    json_t *body = template != NULL && strcmp(template, "slack") == 0
                       ? body_slack(r, id, finished)
                       : body_json(r, id, finished);
    char *text = json_dumps(body, JSON_COMPACT);
    int sent =
        send(url, json_string_value(json_object_get(hook, "secret")), text, &err);
    json_t *event = json_pack("{s:o, s:b}", "url", shown_url(url), "ok", sent == 0);
    if (sent != 0)
        json_object_set_new(event, "message", run_text(err.text));
    run_log_append(log, RUN_NOTIFY, event);
    free(text);
    json_decref(body);
}

void run_notify(const json_t *notify, const struct recipe *r, const char *id,
                const json_t *finished, struct run_log *log)
{
    size_t i;
    json_t *hook;
    json_array_foreach(notify, i, hook)
        if (wants(hook, status_of(finished)))
            notify_one(hook, r, id, finished, log);
}
