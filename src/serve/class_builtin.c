/* SPDX-License-Identifier: Apache-2.0
 *
 * From calls of actors to the two built-in classes.
 */
#include "config.h"
#include "serve/class_builtin.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/brought.h"
#include "serve/class_model.h"
#include "serve/class_program.h"

/* Argument 0 of a constructor. */
static json_t *how_of(struct raywf_call *call)
{
    size_t size = 0;
    const char *text = raywf_arg(call, 0, &size);
    char *here = text != NULL ? serve__brought(text, size) : NULL;
    json_t *how = here != NULL ? json_loads(here, 0, NULL) : NULL;
    free(here);
    if (how == NULL)
        raywf_fail(call, "its argument is no JSON object");
    return how;
}

static int fail_with(struct raywf_call *call, const struct rwf_err *err)
{
    return raywf_fail(call, "%s", err->text);
}

/* --- raywf:model --- */

struct model_state {
    struct serve_model *m;
    struct serve_model_body *bodies;
    struct serve_model_reply *replies;
    size_t cap;
};

static int model_create_(struct raywf_call *call, void **ret_state)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *how = how_of(call);
    if (how == NULL)
        return -1;
    const char *folder = json_string_value(json_object_get(how, "folder"));
    const char *device = json_string_value(json_object_get(how, "device"));
    struct serve_model *m = serve_model_open(
        folder != NULL ? folder : "", device != NULL ? device : "cpu",
        (int)json_integer_value(json_object_get(how, "threads")), &err);
    json_decref(how);
    if (m == NULL)
        return fail_with(call, &err);
    struct model_state *s = rwf_xcalloc(1, sizeof(*s));
    s->m = m;
    *ret_state = s;
    return 0;
}

static void model_destroy_(void *state)
{
    struct model_state *s = state;
    serve_model_close(s->m);
    free(s->bodies);
    free(s->replies);
    free(s);
}

static int model_answer(struct raywf_call *call)
{
    struct model_state *s = raywf_state(call);
    size_t n = raywf_arg_count(call);
    if (n > s->cap) {
        s->cap = n;
        s->bodies = rwf_xrealloc(s->bodies, n * sizeof(*s->bodies));
        s->replies = rwf_xrealloc(s->replies, n * sizeof(*s->replies));
    }
    for (size_t i = 0; i < n; i++)
        s->bodies[i].data = raywf_arg(call, i, &s->bodies[i].size);
    serve_model_answer(s->m, s->bodies, (int)n, s->replies);
    for (size_t i = 0; i < n; i++) {
        const struct serve_model_reply *r = &s->replies[i];
        int rc = r->status == 200 ? raywf_return(call, i, r->data, r->size)
                                  : raywf_reply(call, i, r->status, "application/json",
                                                r->data, r->size);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int healthy(struct raywf_call *call)
{
    return raywf_return(call, 0, "", 0);
}

static const struct raywf_function model_methods[] = {
    {"answer", model_answer, "JSON rows -> predictions, one body an argument"},
    {"check_health", healthy, NULL},
    {0}};
static const struct raywf_class model_classes[] = {{"model", model_create_,
                                                    model_destroy_, model_methods,
                                                    "a checkpoint that answers"},
                                                   {0}};
static const struct raywf_plugin model_plugin = {
    .abi = RAYWF_ABI, .size = sizeof(struct raywf_plugin), .classes = model_classes};

/* --- raywf:program --- */

static bool cancelled(void *ctx)
{
    return raywf_cancelled(ctx);
}

static int program_create(struct raywf_call *call, void **ret_state)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *how = how_of(call);
    if (how == NULL)
        return -1;
    struct serve_program *p = serve_program_start(how, cancelled, call, &err);
    json_decref(how);
    *ret_state = p;
    return p != NULL ? 0 : fail_with(call, &err);
}

static void program_destroy(void *state)
{
    serve_program_free(state);
}

static int program_address(struct raywf_call *call)
{
    const char *address = serve_program_address(raywf_state(call));
    char *machine = serve_program_machine();
    int rc = raywf_return(call, 0, address, strlen(address));
    if (rc == 0)
        rc = raywf_return(call, 1, machine, strlen(machine));
    free(machine);
    return rc;
}

static int program_wait(struct raywf_call *call)
{
    struct rwf_err err = RWF_ERR_INIT;
    serve_program_wait(raywf_state(call), cancelled, call, &err);
    return fail_with(call, &err);
}

static const struct raywf_function program_methods[] = {
    {"address", program_address, "where it listens"},
    {"wait", program_wait, "returns when it has ended"},
    {0}};
static const struct raywf_class program_classes[] = {{"program", program_create,
                                                      program_destroy, program_methods,
                                                      "a program that serves"},
                                                     {0}};
static const struct raywf_plugin program_plugin = {
    .abi = RAYWF_ABI, .size = sizeof(struct raywf_plugin), .classes = program_classes};

const struct native_builtin serve_builtins[] = {
    {"model", &model_plugin}, {"program", &program_plugin}, {NULL, NULL}};
