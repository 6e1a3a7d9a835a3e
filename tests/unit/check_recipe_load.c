/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading: includes, profiles, --set, parameters, look-ups, snapshots, secrets. Each
 * test writes its files into a folder of its own.
 */
#include "config.h"

#include <check.h>
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
#include "recipe/recipe.h"

static char dir[64];
static char *before;
static struct recipe_diags *diags;
static struct recipe *r;
static struct rwf_err err;

static void setup(void)
{
    strcpy(dir, "/tmp/raywf-load-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    before = getcwd(NULL, 0);
    ck_assert_int_eq(chdir(dir), 0);
    diags = recipe_diags_create();
    r = NULL;
    err = (struct rwf_err)RWF_ERR_INIT;
}

static void teardown(void)
{
    recipe_destroy(r);
    recipe_diags_destroy(diags);
    rwf_redact_clear();
    ck_assert_int_eq(chdir(before), 0);
    free(before);
    rwf_fs_rmtree(dir, NULL);
}

static void put(const char *name, const char *text)
{
    char *folder = rwf_fs_dirname(name);
    rwf_fs_mkdirs(folder, NULL);
    free(folder);
    ck_assert_int_eq(rwf_fs_write(name, text, strlen(text), false, NULL), 0);
}

static void load_with(const struct recipe_options *options)
{
    r = recipe_load("r.yaml", options, diags, &err);
    ck_assert_msg(r != NULL, "%s", err.text);
}

static void load(void)
{
    load_with(NULL);
}

static char *findings(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    recipe_diags_print(diags, r == NULL ? NULL : recipe_sources(r), out, false);
    fclose(out);
    return text;
}

static void expect_good(void)
{
    char *text = findings();
    ck_assert_msg(recipe_diags_errors(diags) == 0, "%s", text);
    free(text);
}

/* Exactly these codes, in order of place, separated by spaces. */
static void expect_codes(const char *codes)
{
    struct rwf_str have = {0};
    for (size_t i = 0; i < recipe_diags_count(diags); i++)
        rwf_str_addf(&have, "%s%s", i == 0 ? "" : " ",
                     recipe_code_info(recipe_diags_at(diags, i)->code)->name);
    rwf_str_add(&have, "");
    char *text = findings();
    ck_assert_msg(strcmp(have.data, codes) == 0, "%s, not %s\n%s", have.data, codes,
                  text);
    free(text);
    rwf_str_free(&have);
}

static const char *at(const char *path)
{
    return recipe_text(recipe_at(recipe_root(r), path), "(none)");
}

START_TEST(names_and_folders)
{
    put("r.yaml", "recipe: raywf/v1\n");
    load();
    expect_good();
    ck_assert_str_eq(recipe_name(r), "r");
    ck_assert_str_eq(recipe_path(r), "r.yaml");
    ck_assert_str_eq(recipe_dir(r), dir);
    ck_assert_ptr_nonnull(recipe_arena(r));
}
END_TEST

START_TEST(no_file)
{
    r = recipe_load("nothing.yaml", NULL, diags, &err);
    ck_assert_ptr_null(r);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_ptr_nonnull(strstr(err.text, "nothing.yaml"));
    ck_assert_ptr_null(recipe_load(".", NULL, diags, &err));
}
END_TEST

START_TEST(too_large_is_refused)
{
    int fd = creat("r.yaml", 0600);
    ck_assert_int_eq(ftruncate(fd, 50 * 1024 * 1024), 0);
    close(fd);
    load();
    expect_codes("E0003");
    ck_assert_uint_eq(recipe_root(r)->count, 0);
}
END_TEST

START_TEST(byte_order_mark)
{
    put("r.yaml", "\xef\xbb\xbfrecipe: raywf/v1\nname: x\n");
    load();
    expect_good();
    ck_assert_uint_eq(recipe_pair_get(recipe_root(r), "recipe")->key_span.col, 1);
}
END_TEST

START_TEST(includes_merge)
{
    put("r.yaml", "recipe: raywf/v1\ninclude: [lib/a.yaml, b.yaml]\n"
                  "tasks: {t: {timeout: 3s, retry: {max: 3}}}\nenv: {C: main}\n");
    put("lib/a.yaml", "include: [../c.yaml]\n"
                      "tasks:\n  t: {run: a, timeout: 1s, retry: {on: [exit]}}\n"
                      "env: {A: a, B: a, C: a}\n");
    put("b.yaml", "env: {B: b}\nnotify: [{url: x}, {url: y}]\n");
    put("c.yaml", "env: {D: c, A: c}\n");
    load();
    ck_assert_str_eq(at("tasks.t.run"), "a");
    ck_assert_str_eq(at("tasks.t.timeout"), "3s");
    ck_assert_str_eq(at("tasks.t.retry.max"), "3");
    ck_assert_str_eq(recipe_at(recipe_root(r), "tasks.t.retry.on")->items[0]->text,
                     "exit");
    ck_assert_str_eq(at("env.A"), "a");
    ck_assert_str_eq(at("env.B"), "b");
    ck_assert_str_eq(at("env.C"), "main");
    ck_assert_str_eq(at("env.D"), "c");
    char *where =
        recipe_where(recipe_sources(r), recipe_at(recipe_root(r), "tasks.t.run")->span);
    ck_assert_str_eq(where, "lib/a.yaml:3:12");
    free(where);
}
END_TEST

START_TEST(lists_replace)
{
    put("r.yaml", "recipe: raywf/v1\ninclude: [a.yaml]\ntasks: {t: {argv: [b]}}\n");
    put("a.yaml", "tasks: {t: {argv: [a, b, c]}}\n");
    load();
    expect_good();
    ck_assert_uint_eq(recipe_at(recipe_root(r), "tasks.t.argv")->count, 1);
}
END_TEST

START_TEST(errors_in_included_files_name_them)
{
    put("r.yaml", "recipe: raywf/v1\ninclude: [a.yaml]\n");
    put("a.yaml", "tasks:\n  t: {rnu: x}\n");
    load();
    char *text = findings();
    ck_assert_ptr_nonnull(strstr(text, "a.yaml:2:7: error[E0101]"));
    free(text);
}
END_TEST

static const struct {
    const char *include, *codes;
    int exit_code;
} bad_includes[] = {
    {"[nothing.yaml]", "E0401", 6},
    {"[r.yaml]", "E0402", 3},
    {"[a.yaml]", "E0402", 3},
    {"[sub]", "E0401", 6},
    {"[{file: b.yaml, sha256: "
     "00000000000000000000000000000000000000000000000000000000000000aa}]",
     "E0403", 6},
    {"['git+https://x/y']", "E0110", 3},
    {"['oci://x/y']", "E0110", 3},
    {"['https://x/y']", "E0404", 3},
    {"['${params.x}']", "E0404", 3},
    {"[{fil: b.yaml}]", "E0103 E0101 E0108", 3},
    {"[bad.yaml]", "E0001", 3},
    {"[list.yaml]", "E0102", 3},
    {"[/dev/zero]", "E0401", 6},
    {"[pipe]", "E0401", 6},
};

START_TEST(includes_that_cannot_be)
{
    char *text =
        rwf_xasprintf("recipe: raywf/v1\ninclude: %s\ntasks: {t: {timeout: 1s}}\n",
                      bad_includes[_i].include);
    put("r.yaml", text);
    put("a.yaml", "include: [r.yaml]\n");
    put("b.yaml", "tasks: {t: {run: x}}\n");
    put("bad.yaml", "a: [\n");
    put("list.yaml", "- a\n");
    put("sub/x", "");
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    free(text);
    load();
    expect_codes(bad_includes[_i].codes);
    ck_assert_int_eq(recipe_diags_exit_code(diags), bad_includes[_i].exit_code);
}
END_TEST

START_TEST(includes_do_not_explode)
{
    put("r.yaml", "recipe: raywf/v1\ninclude: [f0.yaml]\n");
    for (int i = 0; i < 30; i++) {
        char name[32], text[96];
        snprintf(name, sizeof(name), "f%d.yaml", i);
        snprintf(text, sizeof(text), "include: [f%d.yaml, f%d.yaml]\n", i + 1, i + 1);
        put(name, text);
    }
    put("f30.yaml", "x-a: 1\n");
    load();
    ck_assert_uint_gt(recipe_diags_errors(diags), 0);
}
END_TEST

START_TEST(checksum_that_fits)
{
    static const char part[] = "tasks: {t: {run: x}}\n";
    char sum[RWF_DIGEST_LEN];
    rwf_digest_bytes(part, strlen(part), sum);
    char *text = rwf_xasprintf(
        "recipe: raywf/v1\ninclude: [{file: b.yaml, sha256: '%s'}]\n", sum);
    put("r.yaml", text);
    put("b.yaml", part);
    free(text);
    load();
    expect_good();
}
END_TEST

static const char profiles[] =
    "recipe: raywf/v1\nparams: {n: {type: int, default: 5, max: 9}}\n"
    "tasks: {t: {run: x, timeout: 1s}}\n"
    "profiles:\n"
    "  ci: {params: {n: 2}, tasks: {t: {timeout: 9s}, u: {run: y}}, env: {A: b}}\n"
    "  none:\n";

START_TEST(profile_overlays)
{
    struct recipe_options options = {.profile = "ci"};
    put("r.yaml", profiles);
    load_with(&options);
    expect_good();
    ck_assert_str_eq(at("tasks.t.timeout"), "9s");
    ck_assert_str_eq(at("tasks.t.run"), "x");
    ck_assert_str_eq(at("tasks.u.run"), "y");
    ck_assert_str_eq(at("env.A"), "b");
    ck_assert_str_eq(recipe_param(r, "n")->text, "2");
    ck_assert_int_eq(recipe_param(r, "n")->type, RECIPE_INT);
    ck_assert_str_eq(at("params.n.max"), "9");
}
END_TEST

START_TEST(profile_that_is_not_there)
{
    struct recipe_options options = {.profile = "cii"};
    put("r.yaml", "recipe: raywf/v1\nprofiles: {ci: {}}\n");
    load_with(&options);
    expect_codes("E0209");
    ck_assert_ptr_nonnull(strstr(recipe_diags_at(diags, 0)->hint, "ci?"));
}
END_TEST

START_TEST(profile_makes_an_incomplete_task)
{
    struct recipe_options options = {.profile = "ci"};
    put("r.yaml", "recipe: raywf/v1\nprofiles: {ci: {tasks: {u: {timeout: 1s}}}}\n");
    load_with(&options);
    expect_codes("E0108");
}
END_TEST

START_TEST(settings)
{
    static const struct recipe_setting sets[] = {
        {"tasks.t.retry.max", "4"},       {"tasks.t.env.A", "x: y"},
        {"tasks.t.argv", "[a, 'b c']"},   {"params.n", "7"},
        {"notify.1.url", "https://new/"}, {"env.EMPTY", ""},
        {"tasks.t.retry.max", "5"},       {"tasks.t.env.B", "'x: y'"},
    };
    struct recipe_options options = {.sets = sets, .set_count = RWF_COUNT(sets)};
    put("r.yaml", "recipe: raywf/v1\nparams: {n: {type: int, default: 1}}\n"
                  "tasks: {t: {argv: [x], retry: }}\nnotify: [{url: a}, {url: b}]\n");
    load_with(&options);
    /* {x: y} is a map where text must stand */
    expect_codes("E0102");
    ck_assert_uint_eq(recipe_diags_at(diags, 0)->span.line, 0);
    ck_assert_str_eq(at("tasks.t.retry.max"), "5");
    ck_assert_str_eq(recipe_at(recipe_root(r), "tasks.t.argv")->items[1]->text, "b c");
    ck_assert_str_eq(recipe_param(r, "n")->text, "7");
    ck_assert_str_eq(at("tasks.t.env.B"), "x: y");
    ck_assert_str_eq(at("env.EMPTY"), "");
    ck_assert_str_eq(
        recipe_get(recipe_get(recipe_root(r), "notify")->items[1], "url")->text,
        "https://new/");
    char *text = findings();
    ck_assert_ptr_nonnull(strstr(text, "--set tasks.t.env.A: error[E0102]"));
    free(text);
}
END_TEST

static const struct {
    const char *path, *value, *codes;
} bad_sets[] = {
    {"tasks.t.run.x", "1", "E0210"},   {"", "1", "E0210"},
    {"tasks..x", "1", "E0210"},        {"notify.7.url", "x", "E0210"},
    {"tasks.t.timout", "1s", "E0101"}, {"tasks.t.timeout", "1", "E0111"},
    {"tasks.t.run", "[", "E0001"},     {"tasks.t.run", "a: b: c", "E0001"},
    {"tasks.t.run", "\xff", "E0002"},  {"tasks.t.run.", "x", "E0210"},
    {"tasks.t", "x", "E0102"},
};

START_TEST(settings_that_cannot_be)
{
    struct recipe_setting set = {bad_sets[_i].path, bad_sets[_i].value};
    struct recipe_options options = {.sets = &set, .set_count = 1};
    put("r.yaml", "recipe: raywf/v1\ntasks: {t: {run: x}}\nnotify: [{url: a}]\n");
    load_with(&options);
    expect_codes(bad_sets[_i].codes);
}
END_TEST

static const struct {
    const char *declared, *given; /* given: from the command line, or NULL */
    enum recipe_type type;        /* RECIPE_UNTYPED: an error is expected */
    const char *value;
} params[] = {
    {"5", NULL, RECIPE_INT, "5"},
    {"5", "7", RECIPE_INT, "7"},
    {"5", "x", RECIPE_UNTYPED, NULL},
    {"5", "0.5", RECIPE_UNTYPED, NULL},
    {"1e-3", "2", RECIPE_NUMBER, "2"},
    {"true", "false", RECIPE_BOOL, "false"},
    {"true", "yes", RECIPE_UNTYPED, NULL},
    {"'5'", "x", RECIPE_TEXT, "x"},
    {"abc", "5", RECIPE_TEXT, "5"},
    {"{type: string, default: 3.10}", NULL, RECIPE_TEXT, "3.10"},
    {"{type: float}", "3e-4", RECIPE_NUMBER, "3e-4"},
    {"{type: float}", NULL, RECIPE_UNTYPED, NULL},
    {"{type: int, default: 5, min: 1, max: 10}", "10", RECIPE_INT, "10"},
    {"{type: int, default: 5, min: 1, max: 10}", "11", RECIPE_UNTYPED, NULL},
    {"{type: int, default: 0, min: 1}", "3", RECIPE_UNTYPED, NULL},
    {"{type: int, default: '5'}", NULL, RECIPE_UNTYPED, NULL},
    {"{type: size, default: 1MiB, max: 2MiB}", "2048KiB", RECIPE_SIZE, "2048KiB"},
    {"{type: size, default: 1MiB, max: 2MiB}", "3MiB", RECIPE_UNTYPED, NULL},
    {"{type: size, default: 1MiB}", "7", RECIPE_UNTYPED, NULL},
    {"{type: duration, default: 1m, min: 10s}", "1h30m", RECIPE_DURATION, "1h30m"},
    {"{type: duration, default: 1m, min: 10s}", "9s", RECIPE_UNTYPED, NULL},
    {"{default: a, choices: [a, b]}", "b", RECIPE_TEXT, "b"},
    {"{default: a, choices: [a, b]}", "c", RECIPE_UNTYPED, NULL},
    {"{type: float, default: 1, choices: [1, 2]}", "2.0", RECIPE_NUMBER, "2.0"},
    {"{default: abc, pattern: '[a-z]+'}", "xyz", RECIPE_TEXT, "xyz"},
    {"{default: abc, pattern: '[a-z]+'}", "x1", RECIPE_UNTYPED, NULL},
    {"{default: abc, pattern: '('}", NULL, RECIPE_UNTYPED, NULL},
    {"{default: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!, pattern: '(a+)+'}", NULL,
     RECIPE_UNTYPED, NULL},
    {"'${env.HOME}/x'", NULL, RECIPE_TEXT, "${env.HOME}/x"},
    {"{type: int, default: '${env.N}'}", NULL, RECIPE_INT, "${env.N}"},
    {"{type: string, default: ''}", NULL, RECIPE_TEXT, ""},
};

START_TEST(parameters)
{
    struct recipe_setting given = {"p", params[_i].given};
    struct recipe_options options = {.params = &given,
                                     .param_count = params[_i].given != NULL};
    char *text =
        rwf_xasprintf("recipe: raywf/v1\nparams:\n  p: %s\n", params[_i].declared);
    put("r.yaml", text);
    free(text);
    load_with(&options);
    if (params[_i].type == RECIPE_UNTYPED) {
        expect_codes("E0207");
        return;
    }
    expect_good();
    ck_assert_str_eq(recipe_param(r, "p")->text, params[_i].value);
    ck_assert_int_eq(recipe_param(r, "p")->type, params[_i].type);
    ck_assert_str_eq(recipe_param_at(r, 0), "p");
    ck_assert_ptr_null(recipe_param_at(r, 1));
    ck_assert_ptr_null(recipe_param(r, "q"));
}
END_TEST

START_TEST(parameter_that_is_not_there)
{
    struct recipe_setting given = {"rat", "1"};
    struct recipe_options options = {.params = &given, .param_count = 1};
    put("r.yaml", "recipe: raywf/v1\nparams: {rate: 1}\n");
    load_with(&options);
    expect_codes("E0207");
    ck_assert_str_eq(recipe_diags_at(diags, 0)->hint, "did you mean 'rate'?");
}
END_TEST

START_TEST(required_version)
{
    static const struct {
        const char *floor, *codes;
    } cases[] = {
        {"'>=0.1'", ""},        {"'>=0.0.1'", ""},  {"'>=999'", "E0112"},
        {"'>=0.1.1'", "E0112"}, {"'0.1'", "E0106"}, {"0.1", "E0102"},
    };
    char *text =
        rwf_xasprintf("recipe: raywf/v1\nrequires: {raywf: %s}\n", cases[_i].floor);
    put("r.yaml", text);
    free(text);
    load();
    expect_codes(cases[_i].codes);
}
END_TEST

START_TEST(look_ups_are_frozen)
{
    put("r.yaml", "recipe: raywf/v1\n");
    put("d[1]/x.csv", "");
    put("d[1]/a b.csv", "");
    put("B.csv", "");
    put("a.csv", "");
    setenv("RAYWF_TEST_A", "one", 1);
    unsetenv("RAYWF_TEST_B");
    load();
    ck_assert_str_eq(recipe_getenv(r, "RAYWF_TEST_A"), "one");
    ck_assert_ptr_null(recipe_getenv(r, "RAYWF_TEST_B"));
    setenv("RAYWF_TEST_A", "two", 1);
    setenv("RAYWF_TEST_B", "three", 1);
    ck_assert_str_eq(recipe_getenv(r, "RAYWF_TEST_A"), "one");
    ck_assert_ptr_null(recipe_getenv(r, "RAYWF_TEST_B"));
    char *names = json_dumps(recipe_glob(r, "*.csv"), JSON_COMPACT);
    ck_assert_str_eq(names, "[\"B.csv\",\"a.csv\"]");
    free(names);
    put("z.csv", "");
    ck_assert_uint_eq(json_array_size(recipe_glob(r, "*.csv")), 2);
    ck_assert_uint_eq(json_array_size(recipe_glob(r, "d\\[1\\]/*.csv")), 2);
    ck_assert_uint_eq(json_array_size(recipe_glob(r, "none*")), 0);
}
END_TEST

static json_t *through_text(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    ck_assert_ptr_nonnull(text);
    json_t *again = json_loads(text, 0, NULL);
    free(text);
    json_decref(json);
    return again;
}

START_TEST(a_snapshot_gives_the_same_recipe)
{
    static const struct recipe_setting set = {"tasks.t.timeout", "7s"};
    static const struct recipe_setting param = {"n", "3"};
    struct recipe_options options = {.profile = "ci",
                                     .params = &param,
                                     .param_count = 1,
                                     .sets = &set,
                                     .set_count = 1};
    put("r.yaml",
        "\xef\xbb\xbfrecipe: raywf/v1\ninclude: [lib/a.yaml]\nparams: {n: 1}\n"
        "profiles: {ci: {env: {A: b}}}\n");
    put("lib/a.yaml", "tasks: {t: {run: \"\xc3\xbc\"}}\n");
    put("x.csv", "");
    setenv("RAYWF_TEST_A", "one", 1);
    load_with(&options);
    expect_good();
    recipe_getenv(r, "RAYWF_TEST_A");
    recipe_glob(r, "*.csv");
    json_t *snapshot = through_text(recipe_snapshot(r));
    json_t *tree = recipe_to_json(recipe_root(r));
    recipe_destroy(r);
    rwf_fs_rmtree("lib", NULL);
    unlink("r.yaml");
    unlink("x.csv");
    unsetenv("RAYWF_TEST_A");
    struct recipe_options again = {.snapshot = snapshot};
    r = recipe_load(NULL, &again, diags, &err);
    ck_assert_msg(r != NULL, "%s", err.text);
    expect_good();
    json_t *same = recipe_to_json(recipe_root(r));
    ck_assert(json_equal(tree, same));
    ck_assert_str_eq(at("tasks.t.timeout"), "7s");
    ck_assert_str_eq(at("env.A"), "b");
    ck_assert_str_eq(recipe_param(r, "n")->text, "3");
    ck_assert_str_eq(recipe_getenv(r, "RAYWF_TEST_A"), "one");
    ck_assert_uint_eq(json_array_size(recipe_glob(r, "*.csv")), 1);
    ck_assert_uint_eq(json_array_size(recipe_glob(r, "*")), 0);
    ck_assert_str_eq(recipe_path(r), "r.yaml");
    ck_assert_str_eq(recipe_dir(r), dir);
    json_t *once_more = recipe_snapshot(r);
    ck_assert(json_equal(json_object_get(once_more, "files"),
                         json_object_get(snapshot, "files")));
    ck_assert(json_equal(json_object_get(once_more, "given"),
                         json_object_get(snapshot, "given")));
    json_decref(once_more);
    json_decref(same);
    json_decref(tree);
    json_decref(snapshot);
}
END_TEST

START_TEST(what_is_not_a_snapshot)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "{\"files\": []}",
        "{\"files\": [{}], \"path\": 1}",
        "{\"files\": [{\"path\": \"/a\"}], \"path\": \"a\", \"dir\": \"/\"}",
    };
    json_t *snapshot = json_loads(texts[_i], 0, NULL);
    struct recipe_options options = {.snapshot = snapshot};
    ck_assert_ptr_null(recipe_load(NULL, &options, diags, &err));
    ck_assert(err.text[0] != '\0');
    json_decref(snapshot);
}
END_TEST

static char *redacted(const char *text)
{
    struct rwf_str out = {0};
    rwf_redact(&out, text, strlen(text));
    return rwf_str_take(&out);
}

START_TEST(secrets_are_read_and_redacted)
{
    put("r.yaml", "recipe: raywf/v1\nsecrets:\n  A: {env: RAYWF_TEST_SECRET}\n"
                  "  B: {file: s.txt}\n  C: {command: [printf, 'third\\n']}\n");
    put("s.txt", "second\r\n");
    setenv("RAYWF_TEST_SECRET", "first", 1);
    load();
    expect_good();
    ck_assert_ptr_null(recipe_secret(r, "A"));
    ck_assert_msg(recipe_secrets_read(r, &err) == 0, "%s", err.text);
    ck_assert_str_eq(recipe_secret(r, "A"), "first");
    ck_assert_str_eq(recipe_secret(r, "B"), "second");
    ck_assert_str_eq(recipe_secret(r, "C"), "third");
    ck_assert_int_eq(recipe_secrets_read(r, &err), 0);
    char *text = redacted("a first b second c third");
    ck_assert_str_eq(text, "a [secret:A] b [secret:B] c [secret:C]");
    free(text);
    json_t *snapshot = recipe_snapshot(r);
    text = json_dumps(snapshot, 0);
    ck_assert_ptr_null(strstr(text, "first"));
    free(text);
    json_decref(snapshot);
}
END_TEST

static const struct {
    const char *body, *message;
} bad_secrets[] = {
    {"{env: RAYWF_TEST_NOT_SET}", "RAYWF_TEST_NOT_SET is not set"},
    {"{file: nothing.txt}", "nothing.txt"},
    {"{command: [sh, -c, 'exit 3']}", "exit code 3"},
    {"{command: [sh, -c, 'kill -9 $$']}", "signal 9"},
    {"{command: [there-is-no-such-program]}", "there-is-no-such-program"},
    {"{command: [sh, -c, 'head -c 100000 /dev/zero']}", "more than"},
    {"{command: [printf, 'abc']}", ""},
};

START_TEST(secrets_that_cannot_be_read)
{
    char *text =
        rwf_xasprintf("recipe: raywf/v1\nsecrets:\n  KEY: %s\n", bad_secrets[_i].body);
    put("r.yaml", text);
    free(text);
    load();
    expect_good();
    ck_assert_int_eq(recipe_secrets_read(r, &err), -1);
    ck_assert_msg(strstr(err.text, bad_secrets[_i].message) != NULL, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "r.yaml:3:3: secret 'KEY'"));
    ck_assert_ptr_null(recipe_secret(r, "KEY"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("recipe_load");
    TCase *tc = tcase_create("load");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, names_and_folders);
    tcase_add_test(tc, no_file);
    tcase_add_test(tc, too_large_is_refused);
    tcase_add_test(tc, byte_order_mark);
    tcase_add_test(tc, includes_merge);
    tcase_add_test(tc, lists_replace);
    tcase_add_test(tc, errors_in_included_files_name_them);
    tcase_add_loop_test(tc, includes_that_cannot_be, 0, (int)RWF_COUNT(bad_includes));
    tcase_add_test(tc, includes_do_not_explode);
    tcase_add_test(tc, checksum_that_fits);
    tcase_add_test(tc, profile_overlays);
    tcase_add_test(tc, profile_that_is_not_there);
    tcase_add_test(tc, profile_makes_an_incomplete_task);
    tcase_add_test(tc, settings);
    tcase_add_loop_test(tc, settings_that_cannot_be, 0, (int)RWF_COUNT(bad_sets));
    tcase_add_loop_test(tc, parameters, 0, (int)RWF_COUNT(params));
    tcase_add_test(tc, parameter_that_is_not_there);
    tcase_add_loop_test(tc, required_version, 0, 6);
    tcase_add_test(tc, look_ups_are_frozen);
    tcase_add_test(tc, a_snapshot_gives_the_same_recipe);
    tcase_add_loop_test(tc, what_is_not_a_snapshot, 0, 5);
    tcase_add_test(tc, secrets_are_read_and_redacted);
    tcase_add_loop_test(tc, secrets_that_cannot_be_read, 0,
                        (int)RWF_COUNT(bad_secrets));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
