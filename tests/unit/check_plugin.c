/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be wrong with a plugin is named: the file, what is the matter, what to do.
 */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "native/plugin.h"

static char path[4096];

static const char *plugin(const char *name)
{
    snprintf(path, sizeof(path), "%s/tests/unit/plugins/%s.so",
             getenv("abs_top_builddir"), name);
    return path;
}

static void says(const struct rwf_err *err, const char *text)
{
    ck_assert_msg(strstr(err->text, text), "'%s' is not in '%s'", text, err->text);
}

static void refused(const char *file, const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;

    ck_assert_ptr_null(native_plugin_open(file, &err));
    ck_assert_int_eq(err.code, RAYWF_E_PLUGIN);
    says(&err, file);
    says(&err, text);
}

START_TEST(good)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct native_plugin *p = native_plugin_open(plugin("plain"), &err);

    ck_assert_msg(p, "%s", err.text);
    ck_assert(native_plugin_function(p, "square", &err));
    const struct raywf_class *c = native_plugin_class(p, "Counter", &err);
    ck_assert_ptr_nonnull(c);
    ck_assert(native_plugin_method(p, c, "add", &err));
    native_plugin_free(p);
}
END_TEST

START_TEST(names)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct native_plugin *p = native_plugin_open(plugin("plain"), &err);

    ck_assert_msg(p, "%s", err.text);
    ck_assert(!native_plugin_function(p, "sqare", &err));
    ck_assert_int_eq(err.code, RAYWF_E_PLUGIN);
    says(&err, "plain.so has no function 'sqare'; did you mean 'square'?");
    ck_assert(!native_plugin_function(p, "unlike_any", &err));
    says(&err, "no function 'unlike_any'");
    ck_assert_ptr_null(strstr(err.text, "did you mean"));
    ck_assert(!native_plugin_function(p, "Counter", &err));
    says(&err, "is an actor class");
    ck_assert_ptr_null(native_plugin_class(p, "Couter", &err));
    says(&err, "no actor class 'Couter'; did you mean 'Counter'?");
    ck_assert_ptr_null(native_plugin_class(p, "Hollow", &err));
    says(&err, "has no create function");
    const struct raywf_class *c = native_plugin_class(p, "Counter", &err);
    ck_assert(!native_plugin_method(p, c, "ad", &err));
    says(&err, "actor class Counter of plugin");
    says(&err, "did you mean 'add'?");
    native_plugin_free(p);
}
END_TEST

START_TEST(bad)
{
    refused("./no-such-plugin.so", "no such file (looked for from /");
    refused("/no/such/plugin.so", "there is no such file");
    refused("/dev/null/plugin.so", "cannot be opened");
    refused("/tmp", "is a folder");
    refused("/dev/null", "is a device");
    refused("libno-such-plugin-anywhere.so", "cannot be loaded");
    refused(plugin("abi"),
            "was built against version 2 of raywf.h, and this is version 1");
    refused(plugin("size"), "was built against another raywf.h");
    refused(plugin("hollow"), "has neither functions nor actor classes");
    refused(plugin("other"), "not a plugin: it has no RAYWF_PLUGIN");
    refused(plugin("undefined"), "function_of_a_missing_library");
}
END_TEST

static void file_is_refused(const char *content, size_t len, const char *text)
{
    char name[] = "/tmp/rwf-unit-XXXXXX";
    int fd = mkstemp(name);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, len), (ssize_t)len);
    close(fd);
    refused(name, text);
    unlink(name);
}

START_TEST(files)
{
    char elf[64] = "\177ELF";

    file_is_refused("", 0, "is empty");
    file_is_refused("#!/bin/sh\n", 10, "is a script");
    file_is_refused("hello, this is no shared object", 31, "is not a shared object");
    elf[16] = 1; /* ET_REL */
    file_is_refused(elf, sizeof(elf), "link it with cc -shared");
    elf[16] = 2; /* ET_EXEC */
    file_is_refused(elf, sizeof(elf), "is a program");
    elf[16] = 3; /* ET_DYN, and then nothing that makes sense */
    file_is_refused(elf, sizeof(elf), "cannot be loaded");
}
END_TEST

static int nothing(struct raywf_call *call)
{
    (void)call;
    return 0;
}

START_TEST(builtin)
{
    static const struct raywf_function functions[] = {{"nothing", nothing, NULL},
                                                      {0}};
    static const struct raywf_plugin table = {
        RAYWF_ABI, sizeof(struct raywf_plugin), functions, NULL};
    static const struct native_builtin all[] = {{"model", &table}, {0}};
    struct rwf_err err = RWF_ERR_INIT;

    refused("raywf:model", "there is no built-in plugin of this name");
    native_plugin_builtins(all);
    refused("raywf:modle", "did you mean 'raywf:model'?");
    struct native_plugin *p = native_plugin_open("raywf:model", &err);
    ck_assert_msg(p, "%s", err.text);
    ck_assert_str_eq(native_plugin_path(p), "raywf:model");
    ck_assert(native_plugin_function(p, "nothing", &err) == nothing);
    native_plugin_free(p);
    native_plugin_builtins(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plugin");
    TCase *t = tcase_create("plugin");
    SRunner *r = srunner_create(s);

    suite_add_tcase(s, t);
    tcase_add_test(t, good);
    tcase_add_test(t, names);
    tcase_add_test(t, bad);
    tcase_add_test(t, files);
    tcase_add_test(t, builtin);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
