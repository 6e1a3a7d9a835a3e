/* SPDX-License-Identifier: Apache-2.0
 *
 * state.json: {"v":1,"applications":[{"spec":{…},"replicas":{DEPLOYMENT: N}}]}. Written
 * beside its place and renamed, a moment after something changed; readable by its owner
 * alone, as specs may hold keys.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/server_inside.h"

#define STATE_MAX ((size_t)256 << 20)
#define SOON (50 * RWF_NS_PER_MS) /* several changes are written as one */

static void add_count(void *ctx, const struct serve_metrics_row *row)
{
    if (row->deployment != NULL)
        json_object_set_new(ctx, row->deployment, json_integer(row->wanted));
}

static json_t *state_of(struct serve_server *s)
{
    json_t *apps = json_array();
    struct serve__slot *slot;
    TAILQ_FOREACH(slot, &s->slots, link)
    {
        json_t *counts = json_object(), *spec = slot->spec;
        if (spec == NULL && slot->restored)
            spec = slot->next;
        if (spec == NULL || slot->removing) {
            json_decref(counts);
            continue;
        }
        serve_application_rows(slot->app, add_count, counts);
        json_array_append_new(
            apps, json_pack("{s:O, s:o}", "spec", spec, "replicas", counts));
    }
    return json_pack("{s:i, s:o}", "v", 1, "applications", apps);
}

void serve__state_dirty(struct serve_server *s)
{
    if (s->state_at == 0 && s->life == SERVE__RUNS) {
        s->state_at = serve_now(&s->pool) + SOON;
        s->pool.wake(&s->pool, s->state_at);
    }
}

void serve__state_tick(struct serve_server *s)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (s->state_at == 0 || serve_now(&s->pool) < s->state_at)
        return;
    s->state_at = 0;
    json_t *state = state_of(s);
    char *text = json_dumps(state, JSON_COMPACT),
         *path = rwf_fs_join(s->o.folder, "state.json");
    if (text == NULL || rwf_fs_write(path, text, strlen(text), false, &err) != 0)
        rwf_log(RWF_LOG_ERROR, "serve", "the state cannot be kept: %s", err.text);
    free(path);
    free(text);
    json_decref(state);
}

static int restore_all(struct serve_server *s, const json_t *state, struct rwf_err *err)
{
    size_t i;
    json_t *app;
    json_array_foreach(json_object_get(state, "applications"), i, app)
        if (serve__restore(s, json_object_get(app, "spec"),
                           json_object_get(app, "replicas"), err) != 0)
            return rwf_wrap(err, "what was served before");
    return 0;
}

int serve__state_restore(struct serve_server *s, struct rwf_err *err)
{
    size_t len;
    json_error_t why;
    char *path = rwf_fs_join(s->o.folder, "state.json");
    int rc = 0;
    if (rwf_fs_is_file(path)) {
        char *text = rwf_fs_read(path, STATE_MAX, &len, err);
        json_t *state = text != NULL ? json_loadb(text, len, 0, &why) : NULL;
        if (state != NULL)
            rc = restore_all(s, state, err);
        else
            rc = text != NULL
                     ? rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, why.line, why.text)
                     : -1;
        json_decref(state);
        free(text);
    }
    free(path);
    return rc;
}
