/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading a plugin. The file is looked at before dlopen, because its messages tell a
 * user little ("invalid ELF header"), and dlopen's own are passed on where they do.
 */
#include "config.h"

#include "native/plugin.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/suggest.h"

struct native_plugin {
    char *path;
    const struct raywf_plugin *table;
};

const char *native_plugin_path(const struct native_plugin *p)
{
    return p->path;
}

/* What is wrong with the first bytes of a file as a shared object; NULL: nothing. */
static const char *wrong_with(const unsigned char *head, size_t len)
{
    Elf64_Half type;

    if (len == 0)
        return "is empty";
    if (len >= 2 && head[0] == '#' && head[1] == '!')
        return "is a script, not a shared object";
    if (len < sizeof(Elf64_Ehdr) || memcmp(head, ELFMAG, SELFMAG) != 0)
        return "is not a shared object; build it with cc -shared -fPIC";
    memcpy(&type, head + offsetof(Elf64_Ehdr, e_type), sizeof(type));
    if (type == ET_REL)
        return "is an object file; link it with cc -shared";
    if (type != ET_DYN)
        return "is a program, not a shared object; build it with cc -shared -fPIC";
    return NULL;
}

static int no_such_file(const char *path, struct rwf_err *err)
{
    char *cwd = path[0] == '/' ? NULL : getcwd(NULL, 0);

    rwf_fail(err, RAYWF_E_PLUGIN, "plugin %s: there is no such file%s%s%s", path,
             cwd ? " (looked for from " : "", cwd ? cwd : "", cwd ? ")" : "");
    free(cwd);
    return -1;
}

static int look(const char *path, struct rwf_err *err)
{
    unsigned char head[sizeof(Elf64_Ehdr)] = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        if (errno == ENOENT)
            return no_such_file(path, err);
        return rwf_fail(err, RAYWF_E_PLUGIN, "plugin %s: cannot be opened: %m", path);
    }
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        close(fd);
        return rwf_fail(err, RAYWF_E_PLUGIN, "plugin %s: is %s, not a file", path,
                        S_ISDIR(st.st_mode) ? "a folder" : "a device");
    }
    ssize_t n = read(fd, head, sizeof(head));
    close(fd);
    const char *wrong = wrong_with(head, n > 0 ? (size_t)n : 0);
    if (wrong)
        return rwf_fail(err, RAYWF_E_PLUGIN, "plugin %s: %s", path, wrong);
    return 0;
}

static int check_table(const char *path, const struct raywf_plugin *t,
                       struct rwf_err *err)
{
    if (!t)
        return rwf_fail(err, RAYWF_E_PLUGIN,
                        "plugin %s: is a shared object, but not a plugin: it has no "
                        "RAYWF_PLUGIN(...)",
                        path);
    if (t->abi != RAYWF_ABI)
        return rwf_fail(
            err, RAYWF_E_PLUGIN,
            "plugin %s: was built against version %u of raywf.h, and this is "
            "version %u; build it again",
            path, t->abi, RAYWF_ABI);
    if (t->size != sizeof(*t))
        return rwf_fail(
            err, RAYWF_E_PLUGIN,
            "plugin %s: its table has %u bytes instead of %zu: it was built "
            "against another raywf.h; build it again",
            path, t->size, sizeof(*t));
    if ((!t->functions || !t->functions->name) && (!t->classes || !t->classes->name))
        return rwf_fail(err, RAYWF_E_PLUGIN,
                        "plugin %s: has neither functions nor actor classes", path);
    return 0;
}

/* --- those of this program --- */

#define BUILTIN "raywf:"

static const struct native_builtin *builtins;

void native_plugin_builtins(const struct native_builtin *table)
{
    builtins = table;
}

static struct native_plugin *make(const char *path, const struct raywf_plugin *table)
{
    struct native_plugin *p = rwf_xcalloc(1, sizeof(*p));

    p->path = rwf_xstrdup(path);
    p->table = table;
    return p;
}

static struct native_plugin *open_builtin(const char *path, struct rwf_err *err)
{
    const char *name = path + strlen(BUILTIN);
    struct rwf_suggest near;

    rwf_suggest_init(&near, name);
    for (const struct native_builtin *b = builtins; b && b->name; b++) {
        if (strcmp(b->name, name) == 0)
            return check_table(path, b->plugin, err) < 0 ? NULL : make(path, b->plugin);
        rwf_suggest_try(&near, b->name);
    }
    const char *best = rwf_suggest_best(&near);
    rwf_fail(err, RAYWF_E_PLUGIN,
             "plugin %s: there is no built-in plugin of this name%s%s%s", path,
             best ? "; did you mean '" BUILTIN : "", best ? best : "",
             best ? "'?" : "");
    return NULL;
}

/* --- files --- */

struct native_plugin *native_plugin_open(const char *path, struct rwf_err *err)
{
    if (strncmp(path, BUILTIN, strlen(BUILTIN)) == 0)
        return open_builtin(path, err);
    if (strchr(path, '/') && look(path, err) < 0)
        return NULL;
    /* LOCAL: plugins of one process do not see each other's symbols. NOW: what is
     * missing is found here and not in the middle of a task. */
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!so) {
        const char *why = dlerror();
        size_t len = strlen(path);
        /* dlopen begins with the path, most of the time. */
        if (why && strncmp(why, path, len) == 0 && why[len] == ':')
            why += len + 1 + (why[len + 1] == ' ');
        rwf_fail(err, RAYWF_E_PLUGIN, "plugin %s: cannot be loaded: %s", path,
                 why ? why : "?");
        return NULL;
    }
    const struct raywf_plugin *table = dlsym(so, "raywf_plugin");
    if (check_table(path, table, err) < 0) {
        dlclose(so);
        return NULL;
    }
    return make(path, table);
}

void native_plugin_free(struct native_plugin *p)
{
    if (p) {
        free(p->path);
        free(p);
    }
}

static raywf_fn find(const struct raywf_function *f, const char *name,
                     const char **ret_near)
{
    struct rwf_suggest near;

    rwf_suggest_init(&near, name);
    for (; f && f->name; f++) {
        if (strcmp(f->name, name) == 0)
            return f->fn;
        rwf_suggest_try(&near, f->name);
    }
    *ret_near = rwf_suggest_best(&near);
    return NULL;
}

static int missing(struct rwf_err *err, const char *where, const char *what,
                   const char *name, const char *near)
{
    return rwf_fail(err, RAYWF_E_PLUGIN, "%s has no %s '%s'%s%s%s", where, what, name,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static const struct raywf_class *find_class(const struct native_plugin *p,
                                            const char *name, const char **ret_near)
{
    struct rwf_suggest near;

    rwf_suggest_init(&near, name);
    for (const struct raywf_class *c = p->table->classes; c && c->name; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
        rwf_suggest_try(&near, c->name);
    }
    *ret_near = rwf_suggest_best(&near);
    return NULL;
}

raywf_fn native_plugin_function(const struct native_plugin *p, const char *name,
                                struct rwf_err *err)
{
    const char *near = NULL, *ignored;
    raywf_fn fn = find(p->table->functions, name, &near);

    if (fn)
        return fn;
    if (find_class(p, name, &ignored)) {
        rwf_fail(err, RAYWF_E_PLUGIN,
                 "plugin %s: '%s' is an actor class, not a function: make one with "
                 "raywf_actor_create",
                 p->path, name);
        return NULL;
    }
    char *where = rwf_xasprintf("plugin %s", p->path);
    missing(err, where, "function", name, near);
    free(where);
    return NULL;
}

const struct raywf_class *native_plugin_class(const struct native_plugin *p,
                                              const char *name, struct rwf_err *err)
{
    const char *near = NULL;
    const struct raywf_class *c = find_class(p, name, &near);
    char *where = NULL;

    if (c && !c->create) {
        rwf_fail(err, RAYWF_E_PLUGIN,
                 "plugin %s: actor class '%s' has no create function", p->path, name);
        return NULL;
    }
    if (!c) {
        where = rwf_xasprintf("plugin %s", p->path);
        missing(err, where, "actor class", name, near);
        free(where);
    }
    return c;
}

raywf_fn native_plugin_method(const struct native_plugin *p,
                              const struct raywf_class *c, const char *name,
                              struct rwf_err *err)
{
    const char *near = NULL;
    raywf_fn fn = find(c->methods, name, &near);

    if (!fn) {
        char *where = rwf_xasprintf("actor class %s of plugin %s", c->name, p->path);
        missing(err, where, "method", name, near);
        free(where);
    }
    return fn;
}
