/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written here is for people (and for `raywf report`), never read back to decide
 * anything, so it is not synced: the event log is the truth. Thousands of steps pass
 * through here, and a new inode is what costs most about a small file: so what is the
 * same for many steps is made once. What the step itself writes must not change it: what
 * it inherits is kept beside its folder, and the one file that is in there from the
 * start has a name that is ours.
 */
#include "config.h"
#include "node/attempt.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "node/gpu.h"

extern char **environ;

/* --- the command --- */

static int add_own(struct node__command *c, size_t *cap, const char *name,
                   const char *value)
{
    size_t len = strlen(name);
    char *var = rwf_xasprintf("%s=%s", name, value);
    for (size_t i = 0; i < c->own; i++)
        if (strncmp(c->envp[i], var, len + 1) == 0) {
            free(c->envp[i]);
            c->envp[i] = var;
            return 0;
        }
    *RWF_PUSH(c->envp, c->own, *cap) = var;
    return 0;
}

static int add_spec_env(struct node__command *c, size_t *cap, const json_t *env,
                        struct rwf_err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)env, name, value) {
        const char *text = json_string_value(value);
        if (!text)
            return rwf_fail(err, EINVAL, "env: the value of '%s' is no text", name);
        if (*name == '\0' || strchr(name, '='))
            return rwf_fail(err, EINVAL, "env: '%s' cannot be the name of a variable",
                            name);
        if (strlen(text) != json_string_length(value))
            return rwf_fail(err, EINVAL, "env: the value of '%s' holds a NUL byte",
                            name);
        add_own(c, cap, name, text);
    }
    return 0;
}

struct own {
    struct node__command *command;
    size_t *cap;
};

static void add_gpu_variable(void *ctx, const char *name, const char *value)
{
    struct own *own = ctx;
    add_own(own->command, own->cap, name, value);
}

static void add_gpus(struct node__command *c, size_t *cap, const struct proc_spec *spec)
{
    struct own own = { c, cap };
    if (spec->gpu_count >= 0)
        node_gpu_env(spec->gpus, spec->gpu_count,
                     spec->gpu_share > 0 ? spec->gpu_share : 1, add_gpu_variable, &own);
}

static void add_inherited(struct node__command *c, size_t *cap)
{
    size_t count = c->own;
    for (char **v = environ; v && *v; v++) {
        size_t len = strcspn(*v, "=") + 1;
        size_t i = 0;
        while (i < c->own &&
               (c->envp[i][0] != **v || strncmp(c->envp[i], *v, len) != 0))
            i++;
        if (i == c->own)
            *RWF_PUSH(c->envp, count, *cap) = *v;
    }
    *RWF_PUSH(c->envp, count, *cap) = NULL;
}

static int build_argv(struct node__command *c, const json_t *argv, struct rwf_err *err)
{
    size_t n = json_array_size(argv);
    if (n == 0)
        return rwf_fail(err, EINVAL, "there is no command to run: argv is empty");
    c->argv = rwf_xcalloc(n + 1, sizeof(*c->argv));
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(argv, i);
        const char *text = json_string_value(item);
        if (!text)
            return rwf_fail(err, EINVAL, "argv[%zu] is no text", i);
        if (strlen(text) != json_string_length(item))
            return rwf_fail(err, EINVAL, "argv[%zu] holds a NUL byte", i);
        c->argv[i] = (char *)text; /* execve's type; nobody writes to it */
    }
    return 0;
}

int node__command_build(struct node__command *c, const struct proc_spec *spec,
                       struct rwf_err *err)
{
    *c = (struct node__command){ 0 };
    size_t cap = 0;
    if (build_argv(c, spec->argv, err) < 0 ||
        add_spec_env(c, &cap, spec->env, err) < 0) {
        node__command_free(c);
        return -1;
    }
    add_own(c, &cap, "RAYWF_RUN_ID", spec->run_id);
    add_own(c, &cap, "RAYWF_STEP", spec->address);
    add_own(c, &cap, "RAYWF_REPORT", "3");
    add_gpus(c, &cap, spec);
    add_inherited(c, &cap);
    return 0;
}

void node__command_free(struct node__command *c)
{
    for (size_t i = 0; i < c->own; i++)
        free(c->envp[i]);
    free(c->envp);
    free(c->argv);
    *c = (struct node__command){ 0 };
}

const char *node__command_env(const struct node__command *c, const char *name)
{
    size_t len = strlen(name);
    for (char **v = c->envp; *v; v++)
        if (strncmp(*v, name, len) == 0 && (*v)[len] == '=')
            return *v + len + 1;
    return NULL;
}

/* --- the files --- */

static int write_file(const char *dir, const char *name, mode_t mode,
                      const struct rwf_str *text, struct rwf_err *err)
{
    char *path = rwf_fs_join(dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    int rc = 0;
    if (fd < 0)
        rc = rwf_fail(err, errno, "cannot write %s: %s", path, strerror(errno));
    else if (rwf_fs_write_all(fd, text->data, text->len, err) < 0)
        rc = rwf_wrap(err, "%s", path);
    if (fd >= 0)
        close(fd);
    free(path);
    return rc;
}

/* text for a shell, without secrets; true when there was one. */
static bool add_shell_redacted(struct rwf_str *out, const char *text)
{
    if (!rwf_redact_active()) {
        rwf_str_add_shell(out, text);
        return false;
    }
    struct rwf_str clean = { 0 };
    rwf_redact(&clean, text, strlen(text));
    const char *shown = clean.len ? clean.data : "";
    bool secret = strcmp(shown, text) != 0;
    rwf_str_add_shell(out, shown);
    rwf_str_free(&clean);
    return secret;
}

/* What the environment inherits may hold secrets that nobody declared. */
static bool name_is_delicate(const char *var)
{
    static const char *const words[] = {"SECRET",     "TOKEN",       "PASSW",
                                        "CREDENTIAL", "PRIVATE_KEY", "API_KEY",
                                        "APIKEY",     "ACCESS_KEY"};
    const char *end = strchr(var, '=');
    for (size_t i = 0; i < RWF_COUNT(words); i++) {
        const char *hit = strstr(var, words[i]);
        if (hit && end && hit < end)
            return true;
    }
    return false;
}

static bool add_variable(struct rwf_str *out, const char *var)
{
    const char *value = strchr(var, '=');
    if (!value)
        return false;
    value++;
    rwf_str_addn(out, var, (size_t)(value - var));
    return add_shell_redacted(out, value);
}

static void make_command_text(struct rwf_str *s, const struct proc_spec *spec,
                              const struct node__command *c, const char *inherited)
{
    rwf_str_addf(s,
                 "#!/bin/sh\n# %s of run %s, to be run again by hand\n"
                 "# What it inherited: ../%s\ncd ",
                 spec->address, spec->run_id, inherited);
    rwf_str_add_shell(s, spec->cwd);
    rwf_str_add(s, " || exit\n");
    for (size_t i = 0; i < c->own; i++) {
        if (rwf_starts_with(c->envp[i], "RAYWF_REPORT="))
            continue; /* nobody would listen */
        rwf_str_add(s, "export ");
        if (add_variable(s, c->envp[i]))
            rwf_str_add(s, " # a secret is not kept here: put its value in");
        rwf_str_addc(s, '\n');
    }
    rwf_str_add(s, "exec");
    for (char **a = c->argv; *a; a++) {
        rwf_str_addc(s, ' ');
        add_shell_redacted(s, *a);
    }
    rwf_str_addc(s, '\n');
}

/* Changes with every setenv and every new secret (FNV-1a over the pointers). */
static uint64_t environment_stamp(void)
{
    uint64_t hash = 14695981039346656037u ^ rwf_redact_count();
    for (char **v = environ; v && *v; v++)
        hash = (hash ^ (uint64_t)(uintptr_t)*v) * 1099511628211u;
    return hash;
}

static void make_env_text(struct rwf_str *s)
{
    rwf_str_add(s, "# What every step inherits; what it sets itself is in its folder, "
                   "in " NODE__COMMAND_FILE ".\n");
    for (char **v = environ; v && *v; v++) {
        if (name_is_delicate(*v))
            rwf_str_addf(s, "%.*s[hidden]", (int)(strcspn(*v, "=") + 1), *v);
        else
            add_variable(s, *v);
        rwf_str_addc(s, '\n');
    }
}

/* Named by its content: it is written once for all attempts beside it. */
static char *inherited_name(const void *text, size_t len)
{
    char digest[RWF_DIGEST_LEN];
    rwf_digest_bytes(text, len, digest);
    return rwf_xasprintf("env-%.16s.txt", digest);
}

const struct node__inherited *node__attempt_inherited(void)
{
    static struct node__inherited now; /* only touched by the loop's thread */
    static uint64_t known;
    uint64_t stamp = environment_stamp();
    if (now.name && known == stamp)
        return &now;
    rwf_str_clear(&now.text);
    make_env_text(&now.text);
    free(now.name);
    now.name = inherited_name(now.text.data, now.text.len);
    known = stamp;
    return &now;
}

/* Other nodes may write it, too, where the file system is a shared one: hence the rename. */
static int write_inherited(const char *folder, const char *name,
                           const struct rwf_str *text, struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, name);
    int rc = 0;
    if (!rwf_fs_exists(path))
        rc = rwf_fs_write_private(path, text->data, text->len, false, err);
    free(path);
    return rc;
}

int node__attempt_begin(const struct proc_spec *spec, const struct node__command *c,
                       struct rwf_err *err)
{
    const struct node__inherited *inherited = node__attempt_inherited();
    struct rwf_str s = { 0 };
    char *folder = rwf_fs_dirname(spec->dir);
    make_command_text(&s, spec, c, inherited->name);
    int rc = write_file(spec->dir, NODE__COMMAND_FILE, 0777, &s, err);
    if (rc == 0)
        rc = write_inherited(folder, inherited->name, &inherited->text, err);
    free(folder);
    rwf_str_free(&s);
    return rc;
}

/* The name is that of the text as it came: the command's file says it. */
int node__attempt_put_inherited(const char *dir, const void *text, size_t len,
                                struct rwf_err *err)
{
    struct rwf_str clean = { 0 };
    char *folder = rwf_fs_dirname(dir), *name = inherited_name(text, len);
    rwf_redact(&clean, text, len);
    int rc = write_inherited(folder, name, &clean, err);
    rwf_str_free(&clean);
    free(name);
    free(folder);
    return rc;
}

int node__attempt_put_command(const char *dir, const void *text, size_t len,
                              struct rwf_err *err)
{
    struct rwf_str clean = { 0 };
    rwf_redact(&clean, text, len);
    int rc = write_file(dir, NODE__COMMAND_FILE, 0777, &clean, err);
    rwf_str_free(&clean);
    return rc;
}

int node__attempt_end(const char *dir, const struct proc_exit *result,
                     struct rwf_err *err)
{
    const struct proc_usage *u = &result->usage;
    json_t *json = json_pack("{s:s, s:i, s:i, s:s, s:{s:f, s:f, s:I}}",
                             "cause", plan_cause_name(result->cause),
                             "code", result->exit_code, "signal", result->signal,
                             "message", result->message, "usage",
                             "wall", (double)u->wall / 1e9, "cpu", (double)u->cpu / 1e9,
                             "max_rss", (json_int_t)u->max_rss);
    if (!json)
        return rwf_fail(err, ENOMEM, "cannot make exit.json");
    struct rwf_str s = { 0 };
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    rwf_str_add(&s, text ? text : "{}");
    rwf_str_addc(&s, '\n');
    int rc = write_file(dir, "exit.json", 0666, &s, err);
    free(text);
    rwf_str_free(&s);
    json_decref(json);
    return rc;
}
