/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "cmd/alive.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "cmd/daemon.h"
#include "native/client.h"
#include "run/engine.h"
#include "run/index.h"
#include "run/layout.h"
#include "view/style.h"
#include "wire/frame.h"

#define ADDRESS_MAX 4096
#define COLUMNS_MAX 12

/* --- where it is --- */

char *cmd_alive_of_run(const char *root, const char *id)
{
    char *path = run_native_address(root, id), *address = NULL;
    size_t len;

    if (engine_active(root, id) != 0 && rwf_fs_is_file(path))
        address = rwf_fs_read(path, ADDRESS_MAX, &len, NULL);
    free(path);
    return address;
}

struct search {
    const char *root;
    char *address;
};

static void try_run(void *ctx, const json_t *run)
{
    struct search *s = ctx;
    const char *id = json_string_value(json_object_get(run, "id"));

    if (!s->address && id)
        s->address = cmd_alive_of_run(s->root, id);
}

static char *of_named(const char *name, struct rwf_err *err)
{
    char *root = run_root_find(".", err), *address = NULL;
    char *id = root ? run_resolve(root, name, err) : NULL;

    if (id && (address = cmd_alive_of_run(root, id)) == NULL)
        rwf_fail(err, RWF_E_NORUN,
                 "run %s has no native runtime: only one that is active and has native "
                 "tasks or actors does",
                 id);
    free(id);
    free(root);
    return address;
}

char *cmd_alive_address(const struct cmd_call *call, struct rwf_err *err)
{
    const char *name = cmd_operand(call, 0, NULL), *given = getenv("RAYWF_ADDRESS");
    struct search s = {0};
    char *root;

    if (name)
        return of_named(name, err);
    if (given && *given)
        return rwf_xstrdup(given);
    root = run_root_find(".", NULL);
    s.root = root;
    if (root)
        (void)run_index_each(root, 100, try_run, &s, NULL);
    free(root);
    if (!s.address)
        s.address = cmd_daemon_node();
    if (!s.address)
        rwf_fail(err, RWF_E_NORUN,
                 "no native runtime here: no run with native tasks is active in this "
                 "folder, and raywf start runs no node; or set RAYWF_ADDRESS to the "
                 "socket of a node");
    return s.address;
}

/* --- asking --- */

json_t *cmd_alive_list(const char *address, const char *what, const char *about,
                       struct rwf_err *err)
{
    const struct raywf_options options = {.job = "raywf"};
    struct raywf_error why = {0};
    json_t *list = NULL;
    char *text = NULL;
    int fd = wire_unix_connect(address, err);

    if (fd < 0)
        return NULL;
    if (native_client_open(fd, &options, &why) != 0) {
        rwf_fail(err, RWF_E_ENV, "the node at %s: %s", address, why.text);
        return NULL;
    }
    text = native_client_list(what, about, &why);
    raywf_shutdown();
    list = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (!list)
        rwf_fail(err, RWF_E_ENV, "the node at %s gave no list of %s: %s", address, what,
                 text ? "it is no JSON" : why.text);
    free(text);
    return list;
}

json_t *cmd_alive_all(const char *root, const char *id)
{
    static const char *const lists[] = {"workers", "tasks", "actors"};
    char *address = cmd_alive_of_run(root, id);
    json_t *out = address ? json_pack("{s:o}", "address", cmd_string(address)) : NULL;

    for (size_t i = 0; out && i < RWF_COUNT(lists); i++) {
        json_t *list = cmd_alive_list(address, lists[i], "", NULL);
        json_object_set_new(out, lists[i], list ? list : json_array());
    }
    free(address);
    return out;
}

/* --- showing --- */

static void add_list(struct rwf_str *out, const json_t *list)
{
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item) {
        rwf_str_add(out, i ? "," : "");
        if (json_is_string(item))
            rwf_str_add(out, json_string_value(item));
        else
            rwf_str_addf(out, "%g", json_number_value(item));
    }
}

static void add_cell(struct rwf_str *out, const json_t *value, enum cmd_cell cell)
{
    char text[RWF_UNITS_LEN];

    if (!value || json_is_null(value))
        rwf_str_add(out, "-");
    else if (cell == CELL_COUNT)
        rwf_str_addf(out, "%zu", json_array_size(value));
    else if (json_is_array(value))
        add_list(out, value);
    else if (json_is_string(value))
        rwf_str_add(out, json_string_value(value));
    else if (json_is_boolean(value))
        rwf_str_add(out, json_is_true(value) ? "yes" : "no");
    else if (cell == CELL_BYTES) {
        rwf_size_format((int64_t)json_number_value(value), text);
        rwf_str_add(out, text);
    } else if (cell == CELL_TIME) {
        rwf_duration_format((int64_t)json_number_value(value), text);
        rwf_str_add(out, text);
    } else
        rwf_str_addf(out, "%.15g", json_number_value(value));
    if (out->len == 0)
        rwf_str_add(out, "-");
}

static int cell_width(const json_t *rows, const struct cmd_column *c)
{
    size_t width = strlen(c->title), i;
    struct rwf_str text = {0};
    json_t *row;

    json_array_foreach((json_t *)rows, i, row) {
        rwf_str_clear(&text);
        add_cell(&text, json_object_get(row, c->member), c->cell);
        width = text.len > width ? text.len : width;
    }
    rwf_str_free(&text);
    return (int)width;
}

static void print_row(const json_t *row, const struct cmd_column *columns,
                      const int *widths)
{
    struct rwf_str text = {0};

    for (size_t i = 0; columns[i].member; i++) {
        bool last = !columns[i + 1].member,
             right = columns[i].cell != CELL_TEXT && columns[i].cell != CELL_LIST;
        rwf_str_clear(&text);
        if (row)
            add_cell(&text, json_object_get(row, columns[i].member), columns[i].cell);
        else
            rwf_str_add(&text, columns[i].title);
        int width = last && !right ? 0 : right ? widths[i] : -widths[i];
        printf("%s%*s", i ? "  " : "", width, text.data);
    }
    rwf_str_free(&text);
}

void cmd_print_table(const struct cmd_call *call, const json_t *rows,
                     const struct cmd_column *columns, const char *when_empty)
{
    int widths[COLUMNS_MAX] = {0};
    json_t *row;
    size_t i;

    for (i = 0; columns[i].member; i++) {
        rwf_assert(i < COLUMNS_MAX);
        widths[i] = cell_width(rows, &columns[i]);
    }
    if (json_array_size(rows) == 0) {
        fprintf(stderr, "%s\n", when_empty);
        return;
    }
    if (!call->quiet) {
        fputs(view_on(call->color, VIEW_DIM), stdout);
        print_row(NULL, columns, widths);
        printf("%s\n", view_off(call->color));
    }
    json_array_foreach((json_t *)rows, i, row) {
        print_row(row, columns, widths);
        putchar('\n');
    }
}

int cmd_show_list(struct cmd_call *call, const char *what,
                  const struct cmd_column *columns, const char *when_empty,
                  struct rwf_err *err)
{
    char *address = cmd_alive_address(call, err);
    json_t *list = address ? cmd_alive_list(address, what, "", err) : NULL;

    if (list && !call->json)
        cmd_print_table(call, list, columns, when_empty);
    if (list)
        call->data =
            json_pack("{s:o, s:o}", "address", cmd_string(address), what, list);
    free(address);
    return list ? 0 : -1;
}
