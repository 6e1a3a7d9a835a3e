/* SPDX-License-Identifier: Apache-2.0
 *
 * The spec of a process and its end as JSON, between nodes and from clients: see
 * step.h. What comes in is input: each member is checked, and what is not known is
 * passed over, so that nodes of two versions understand each other.
 */
#include "config.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "far/steps.h"

#define GRACE (10 * RWF_NS_PER_S)
#define LOG_LIMIT ((int64_t)64 << 20)
#define GPUS_MAX 1024

/* --- a spec --- */

struct wanted {
    const struct proc_spec *spec;
    json_t *secrets;
};

static bool has_text(const json_t *value, const char *text)
{
    const char *own = json_string_value(value);
    return own && strstr(own, text) != NULL;
}

/* Only the secrets that the process gets leave this machine. */
static void add_secret(void *ctx, const char *name, const char *value)
{
    struct wanted *w = ctx;
    const char *key;
    json_t *item;
    size_t i;
    bool given = false;
    json_array_foreach((json_t *)w->spec->argv, i, item)
        given |= has_text(item, value);
    json_object_foreach((json_t *)w->spec->env, key, item)
        given |= has_text(item, value);
    if (given)
        json_object_set_new(w->secrets, name, json_string(value));
}

static void set_text(json_t *json, const char *key, const char *text)
{
    if (text)
        json_object_set_new(json, key, json_string(text));
}

static void set_gpus(json_t *json, const struct proc_spec *spec)
{
    if (spec->gpu_count < 0)
        return;
    json_t *all = json_array();
    for (int i = 0; i < spec->gpu_count; i++)
        json_array_append_new(all, json_integer(spec->gpus[i]));
    json_object_set_new(json, "gpus", all);
    if (spec->gpu_share > 0)
        json_object_set_new(json, "gpu_share", json_real(spec->gpu_share));
}

char *far__spec_write(const struct proc_spec *spec, bool files)
{
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"memory", spec->memory},
                   {"timeout", spec->timeout},
                   {"grace", spec->grace},
                   {"log_limit", spec->log_limit}};
    struct wanted w = {spec, json_object()};
    json_t *json = json_object();
    json_object_set(json, "argv", (json_t *)spec->argv);
    if (spec->env)
        json_object_set(json, "env", (json_t *)spec->env);
    set_text(json, "cwd", spec->cwd);
    set_text(json, "dir", spec->dir);
    set_text(json, "run", spec->run_id);
    set_text(json, "address", spec->address);
    for (size_t i = 0; i < RWF_COUNT(numbers); i++)
        json_object_set_new(json, numbers[i].key, json_integer(numbers[i].value));
    set_gpus(json, spec);
    rwf_redact_each(add_secret, &w);
    if (json_object_size(w.secrets) > 0)
        json_object_set(json, "secrets", w.secrets);
    if (files)
        json_object_set_new(json, "files", json_true());
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(w.secrets);
    json_decref(json);
    if (!text)
        rwf_out_of_memory(0);
    return text;
}

/* A member that has to be of a kind when it is there. */
static int kind(const json_t *json, const char *key, json_type type, json_t **ret,
                struct rwf_err *err)
{
    static const char *const names[] = {"an object", "a list", "a text",
                                        "a whole number", "a number"};
    json_t *value = json_object_get(json, key);
    *ret = value;
    if (!value || json_typeof(value) == type ||
        (type == JSON_REAL && json_is_number(value)))
        return 0;
    return rwf_fail(err, EINVAL, "the spec of a step: %s is not %s", key, names[type]);
}

static int read_texts(struct far__spec *s, struct rwf_err *err)
{
    struct proc_spec *p = &s->spec;
    const struct {
        const char *key;
        const char **ret;
    } texts[] = {{"cwd", &p->cwd},
                 {"dir", &p->dir},
                 {"run", &p->run_id},
                 {"address", &p->address}};
    json_t *value;
    for (size_t i = 0; i < RWF_COUNT(texts); i++) {
        if (kind(s->json, texts[i].key, JSON_STRING, &value, err) < 0)
            return -1;
        const char *text = json_string_value(value);
        if (text && strlen(text) != json_string_length(value))
            return rwf_fail(err, EINVAL, "the spec of a step: %s holds a NUL byte",
                            texts[i].key);
        *texts[i].ret = text;
    }
    if (!p->run_id)
        p->run_id = "none";
    if (!p->address)
        p->address = "step";
    return 0;
}

static int read_numbers(struct far__spec *s, struct rwf_err *err)
{
    struct proc_spec *p = &s->spec;
    struct {
        const char *key;
        int64_t *ret;
    } numbers[] = {{"memory", &p->memory},
                   {"timeout", &p->timeout},
                   {"grace", &p->grace},
                   {"log_limit", &p->log_limit}};
    json_t *value;
    p->grace = GRACE;
    p->log_limit = LOG_LIMIT;
    for (size_t i = 0; i < RWF_COUNT(numbers); i++) {
        if (kind(s->json, numbers[i].key, JSON_INTEGER, &value, err) < 0)
            return -1;
        if (value && json_integer_value(value) < 0)
            return rwf_fail(err, EINVAL, "the spec of a step: %s is below 0",
                            numbers[i].key);
        if (value)
            *numbers[i].ret = json_integer_value(value);
    }
    return 0;
}

static int read_gpus(struct far__spec *s, struct rwf_err *err)
{
    json_t *all, *share, *item;
    size_t i;
    s->spec.gpu_count = -1;
    if (kind(s->json, "gpus", JSON_ARRAY, &all, err) < 0 ||
        kind(s->json, "gpu_share", JSON_REAL, &share, err) < 0)
        return -1;
    s->spec.gpu_share = share ? json_number_value(share) : 0;
    if (!all)
        return 0;
    if (json_array_size(all) > GPUS_MAX)
        return rwf_fail(err, EINVAL, "the spec of a step: more than %d GPUs", GPUS_MAX);
    s->gpus = rwf_xcalloc(json_array_size(all) + 1, sizeof(*s->gpus));
    json_array_foreach(all, i, item) {
        if (!json_is_integer(item) || json_integer_value(item) < 0 ||
            json_integer_value(item) >= GPUS_MAX)
            return rwf_fail(err, EINVAL, "the spec of a step: gpus[%zu] is no GPU", i);
        s->gpus[i] = (int)json_integer_value(item);
    }
    s->spec.gpus = s->gpus;
    s->spec.gpu_count = (int)json_array_size(all);
    return 0;
}

int far__spec_read(struct far__spec *ret, const char *text, struct rwf_err *err)
{
    json_error_t error;
    json_t *argv, *env, *secrets;
    *ret = (struct far__spec){0};
    if (strlen(text) > FAR__SPEC_MAX)
        return rwf_fail(err, E2BIG, "the spec of a step has more than %zu bytes",
                        FAR__SPEC_MAX);
    ret->json = json_loads(text, JSON_ALLOW_NUL, &error);
    if (!json_is_object(ret->json)) {
        rwf_fail(err, EINVAL, "the spec of a step is no JSON object: %s",
                 ret->json ? "it is something else" : error.text);
    } else if (!json_object_get(ret->json, "argv")) {
        rwf_fail(err, EINVAL, "the spec of a step: argv is missing");
    } else if (kind(ret->json, "argv", JSON_ARRAY, &argv, err) == 0 &&
               kind(ret->json, "env", JSON_OBJECT, &env, err) == 0 &&
               kind(ret->json, "secrets", JSON_OBJECT, &secrets, err) == 0 &&
               read_texts(ret, err) == 0 && read_numbers(ret, err) == 0 &&
               read_gpus(ret, err) == 0) {
        ret->spec.argv = argv;
        ret->spec.env = env;
        ret->files = json_is_true(json_object_get(ret->json, "files"));
        return 0;
    }
    far__spec_free(ret);
    return -1;
}

void far__spec_secrets(const struct far__spec *s, bool keep)
{
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(s->json, "secrets"), name, value) {
        const char *text = json_string_value(value);
        if (text && keep)
            (void)rwf_redact_add(name, text, NULL);
        else if (text)
            rwf_redact_drop(name, text);
    }
}

void far__spec_free(struct far__spec *s)
{
    json_decref(s->json);
    free(s->gpus);
    *s = (struct far__spec){0};
}

/* --- an exit --- */

/* What was cut at the end of its room may end within a character. */
static json_t *message_json(const char *text)
{
    size_t len = strlen(text);
    while (len > 0 && !rwf_utf8_valid(text, len))
        len--;
    return json_stringn(text, len);
}

void far__exit_say(struct proc_exit *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    r->message[0] = '\0';
    strncat(r->message, text, sizeof(r->message) - 1);
    free(text);
}

char *far__exit_write(const struct proc_exit *r)
{
    json_t *json = json_pack(
        "{s:s, s:i, s:i, s:o, s:{s:I, s:I, s:I}}", "cause", plan_cause_name(r->cause),
        "code", r->exit_code, "signal", r->signal, "message", message_json(r->message),
        "usage", "wall", (json_int_t)r->usage.wall, "cpu", (json_int_t)r->usage.cpu,
        "max_rss", (json_int_t)r->usage.max_rss);
    if (json && r->tail)
        json_object_set_new(json, "tail", message_json(r->tail));
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        rwf_out_of_memory(0);
    return text;
}

int far__exit_read(struct proc_exit *ret, json_t **ret_json, const char *text,
                   struct rwf_err *err)
{
    const char *cause, *message, *tail = NULL;
    json_int_t wall = 0, cpu = 0, rss = 0;
    struct proc_exit r = {0};
    json_t *json = json_loads(text, 0, NULL);
    if (!json || json_unpack(json, "{s:s, s:i, s:i, s:s, s?:s, s?:{s?:I, s?:I, s?:I}}",
                             "cause", &cause, "code", &r.exit_code, "signal", &r.signal,
                             "message", &message, "tail", &tail, "usage", "wall", &wall,
                             "cpu", &cpu, "max_rss", &rss) < 0) {
        json_decref(json);
        return rwf_fail(err, EPROTO,
                        "the end of a step is told in a way that is not "
                        "known here: is it the same version of raywf?");
    }
    r.cause = plan_cause_parse(cause);
    if (r.cause == PLAN_CAUSE_NONE && strcmp(cause, plan_cause_name(r.cause)) != 0)
        r.cause = PLAN_CAUSE_EXIT; /* one that is not known here is no success */
    r.usage = (struct proc_usage){wall, cpu, rss};
    r.tail = tail;
    far__exit_say(&r, "%s", message);
    *ret = r;
    *ret_json = json;
    return 0;
}
