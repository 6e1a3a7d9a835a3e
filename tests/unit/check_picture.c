/* SPDX-License-Identifier: Apache-2.0
 * Pictures: what is drawn, at which detail, and that no name breaks out of its quotes.
 */
#include "config.h"
#include "plan/picture.h"
#include "plan_support.h"

static struct fixture f;

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

#define HOSTILE "\"\\\"]; evil -> x\\n <b>&amp;\\\\N #quot; | {\""

static void build_small(void)
{
    fixture_build(&f,
                  "tasks:\n"
                  "  a: {run: x, outputs: {o: o}}\n"
                  "  b: {run: 'y ${tasks.a.outputs.o}', matrix: {v: [1, " HOSTILE
                  "]}}\n"
                  "checks:\n  c: {value: '${tasks.a.metrics.m}', than: 1}\n",
                  test_ops, NULL);
    assert_built(&f);
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;

    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        n++;
    return n;
}

static const char *class_of(void *ctx, uint32_t step)
{
    (void)ctx;
    return step == 0 ? "cached" : step == 1 ? "failed" : NULL;
}

START_TEST(test_dot)
{
    struct rwf_str out = {0};

    build_small();
    plan_picture_dot(f.graph, class_of, NULL, &out);
    ck_assert_uint_eq(count_of(out.data, " -> \""), 3);
    ck_assert_uint_eq(count_of(out.data, "[label="), 4);
    ck_assert_ptr_nonnull(strstr(out.data, "class=\"step cached\""));
    ck_assert_ptr_nonnull(strstr(out.data, "class=\"step failed\""));
    ck_assert_ptr_nonnull(strstr(out.data, "shape=hexagon"));
    rwf_str_free(&out);
}
END_TEST

START_TEST(test_mermaid)
{
    struct rwf_str out = {0};

    build_small();
    plan_picture_mermaid(f.graph, &out);
    ck_assert_uint_eq(count_of(out.data, " --> "), 3);
    ck_assert_uint_eq(count_of(out.data, "\n"), 8);
    ck_assert_ptr_null(strstr(out.data, "<b>"));
    for (const char *line = out.data; (line = strchr(line, '"')) != NULL; line++)
        ck_assert_msg(line[1] == 't' || line[1] == 'c' || strchr(")]}", line[1]), "%s",
                      line);
    rwf_str_free(&out);
}
END_TEST

START_TEST(test_json)
{
    json_t *json, *step;

    build_small();
    json = plan_picture_json(f.graph);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "steps")), 4);
    step = json_array_get(json_object_get(json, "steps"), 1);
    ck_assert_str_eq(json_string_value(json_object_get(step, "address")),
                     "tasks.b[v=1]");
    ck_assert_str_eq(
        json_string_value(json_object_get(json_object_get(step, "axes"), "v")), "1");
    ck_assert_str_eq(
        json_string_value(json_array_get(json_object_get(step, "needs"), 0)),
        "tasks.a");
    json_decref(json);
}
END_TEST

static bool draw_svg(struct rwf_str *out)
{
    if (plan_picture_svg(f.graph, class_of, NULL, out, &f.err) == 0)
        return true;
    ck_assert_msg(f.err.code == RWF_E_ENV, "%s", f.err.text);
    fprintf(stderr, "skipped: %s\n", f.err.text);
    return false;
}

START_TEST(test_svg)
{
    struct rwf_str out = {0};

    build_small();
    if (!draw_svg(&out))
        return;
    ck_assert(strncmp(out.data, "<svg", 4) == 0);
    ck_assert_ptr_nonnull(strstr(out.data, "</svg>"));
    ck_assert_uint_eq(count_of(out.data, "class=\"node"), 4);
    ck_assert_uint_eq(count_of(out.data, "class=\"edge"), 3);
    ck_assert_ptr_null(strstr(out.data, "<b>"));
    ck_assert_ptr_nonnull(strstr(out.data, "&lt;b&gt;"));
    rwf_str_free(&out);
}
END_TEST

/* entries entries of width instances each, every one after the first needs the one
 * before. */
static void build_many(int entries, int width, bool dense)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n");
    for (int i = 0; i < entries; i++) {
        rwf_str_addf(&text, "  t%d: {run: x, needs: [", i);
        for (int k = dense ? 0 : i - 1; k < i; k++)
            if (k >= 0)
                rwf_str_addf(&text, "%stasks.t%d", k && dense ? ", " : "", k);
        rwf_str_add(&text, "]");
        if (width > 1) {
            rwf_str_addf(&text, ", matrix: {a%d: [", i);
            for (int k = 0; k < width; k++)
                rwf_str_addf(&text, "%s%d", k ? ", " : "", k);
            rwf_str_add(&text, "]}");
        }
        rwf_str_add(&text, "}\n");
    }
    fixture_build(&f, text.data, test_ops, NULL);
    rwf_str_free(&text);
    assert_built(&f);
}

static const struct {
    int entries, width;
    bool dense;
    size_t boxes;
} sizes[] = {
    {20, 10, false, 20}, /* 200 steps, but 1,900 edges of which none implies another */
    {2, 100, false, 2},   {2, 101, false, 2},   {200, 1, false, 200},
    {201, 1, false, 201}, {300, 2, false, 300}, {301, 1, false, 1},
    {60, 1, true, 60},    {190, 1, true, 190},  {15, 1, true, 15},
    {1000, 1, false, 1},
};

START_TEST(test_levels)
{
    struct rwf_str out = {0};

    build_many(sizes[_i].entries, sizes[_i].width, sizes[_i].dense);
    plan_picture_dot(f.graph, NULL, NULL, &out);
    ck_assert_uint_eq(count_of(out.data, "[label="), sizes[_i].boxes);
    rwf_str_clear(&out);
    if (draw_svg(&out))
        ck_assert_uint_eq(count_of(out.data, "class=\"node"), sizes[_i].boxes);
    rwf_str_free(&out);
}
END_TEST

/* What is implied is left out only where it must be. */
START_TEST(test_thin)
{
    struct rwf_str out = {0};

    build_many(15, 1, true);
    plan_picture_dot(f.graph, NULL, NULL, &out);
    ck_assert_uint_eq(count_of(out.data, " -> \""), 105);
    fixture_close(&f);
    fixture_open(&f);
    rwf_str_clear(&out);
    build_many(60, 1, true);
    plan_picture_dot(f.graph, NULL, NULL, &out);
    ck_assert_uint_eq(count_of(out.data, " -> \""), 59);
    rwf_str_free(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("picture");
    TCase *tc = tcase_create("picture");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_dot);
    tcase_add_test(tc, test_mermaid);
    tcase_add_test(tc, test_json);
    tcase_add_test(tc, test_svg);
    tcase_add_loop_test(tc, test_levels, 0, (int)RWF_COUNT(sizes));
    tcase_add_test(tc, test_thin);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
