/* SPDX-License-Identifier: Apache-2.0
 *
 * What is counted, and how it is told.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/metrics.h"

static struct serve_metrics m;

static void setup(void)
{
    m = (struct serve_metrics){0};
}

/* Quantiles are within a step, which is an eighth, of the truth. */
START_TEST(test_quantiles)
{
    static const double q[] = {0.01, 0.25, 0.5, 0.9, 0.99, 1};
    for (int i = 1; i <= 100000; i++)
        serve_histogram_add(&m.latency, (int64_t)i * 37);
    for (size_t i = 0; i < RWF_COUNT(q); i++) {
        double truth = q[i] * 100000 * 37,
               is = serve_histogram_quantile(&m.latency, q[i]);
        ck_assert_msg(fabs(is - truth) <= truth / 8, "%g: %g, not %g", q[i], is, truth);
    }
    ck_assert_uint_eq(m.latency.count, 100000);
    ck_assert_uint_eq(serve_histogram_below(&m.latency, 1e18), 100000);
}
END_TEST

START_TEST(test_ends)
{
    ck_assert_double_eq(serve_histogram_quantile(&m.latency, 0.5), 0);
    serve_histogram_add(&m.latency, -5);
    serve_histogram_add(&m.latency, INT64_MAX);
    ck_assert_uint_eq(serve_histogram_below(&m.latency, 0), 1);
    ck_assert_double_gt(serve_histogram_quantile(&m.latency, 1), 1e14);
    for (int n = 1; n <= 256; n *= 2)
        serve_histogram_add(&m.batches, n);
    for (int n = 1, k = 1; n <= 256; n *= 2, k++)
        ck_assert_uint_eq(serve_histogram_below(&m.batches, n), (uint64_t)k);
}
END_TEST

/* More statuses than there are places for: none is lost. */
START_TEST(test_statuses)
{
    uint64_t sum = 0;
    for (int code = 200; code < 240; code++)
        serve_metrics_status(&m, code);
    serve_metrics_status(&m, 503);
    for (int i = 0; i < SERVE_STATUSES; i++)
        sum += m.statuses[i].count;
    ck_assert_uint_eq(sum, 41);
    ck_assert_uint_eq(m.requests, 41);
    ck_assert_uint_eq(m.errors, 1);
}
END_TEST

static const char *const lines[] = {
    "# TYPE raywf_serve_requests_total counter\n",
    "raywf_serve_requests_total{application=\"a\",deployment=\"d\",status=\"200\"} 2\n",
    "raywf_serve_requests_total{application=\"a\",deployment=\"d\",status=\"503\"} 1\n",
    "raywf_serve_request_duration_seconds_bucket{application=\"a\",deployment=\"d\",le="
    "\"0.001\"} "
    "1\n",
    "raywf_serve_request_duration_seconds_bucket{application=\"a\",deployment=\"d\",le="
    "\"+Inf\"} "
    "2\n",
    "raywf_serve_request_duration_seconds_sum{application=\"a\",deployment=\"d\"} "
    "0.5005\n",
    "raywf_serve_batch_size_bucket{application=\"a\",deployment=\"d\",le=\"4\"} 1\n",
    "raywf_serve_replicas{application=\"a\",deployment=\"d\",state=\"healthy\"} 3\n",
    "raywf_serve_queue_length{application=\"a\",deployment=\"d\"} 7\n",
    "raywf_serve_replicas_wanted{application=\"a\",deployment=\"d\"} 4\n"};

/* A sum over what has an application's label counts each request once. */
START_TEST(test_application)
{
    struct rwf_str text = {0};
    struct serve_metrics whole = {0};
    const struct serve_metrics_row rows[] = {{.app = "a", .m = &whole, .ongoing = 2},
                                             {.app = "a", .deployment = "d", .m = &m}};
    serve_metrics_status(&whole, 200);
    serve_histogram_add(&whole.latency, 500000);
    serve_metrics_status(&m, 200);
    serve_metrics_text(&text, rows, RWF_COUNT(rows));
    static const char *const has[] = {
        "\nraywf_serve_application_requests_total{application=\"a\",status=\"200\"} 1\n",
        "\nraywf_serve_application_request_duration_seconds_count{application=\"a\"} 1\n",
        "\nraywf_serve_application_ongoing_requests{application=\"a\"} 2\n",
        "\nraywf_serve_application_abandoned_total{application=\"a\"} 0\n",
        "\nraywf_serve_application_cut_total{application=\"a\"} 0\n",
        "\nraywf_serve_cut_total{application=\"a\",deployment=\"d\"} 0\n"};
    for (size_t i = 0; i < RWF_COUNT(has); i++)
        ck_assert_msg(strstr(text.data, has[i]) != NULL, "%s is not in %s", has[i],
                      text.data);
    ck_assert_ptr_null(strstr(text.data, "deployment=\"\""));
    ck_assert_ptr_null(strstr(text.data, "raywf_serve_queue_length{application=\"a\"}"));
    ck_assert_ptr_null(strstr(text.data, "raywf_serve_requests_total{application=\"a\",s"));
    rwf_str_free(&text);
}
END_TEST

START_TEST(test_text)
{
    struct rwf_str text = {0};
    struct serve_metrics_row row = {.app = "a",
                                    .deployment = "d",
                                    .m = &m,
                                    .queued = 7,
                                    .ongoing = 1,
                                    .wanted = 4,
                                    .healthy = 3};
    serve_metrics_status(&m, 200);
    serve_metrics_status(&m, 200);
    serve_metrics_status(&m, 503);
    serve_histogram_add(&m.latency, 500000);
    serve_histogram_add(&m.latency, 500000000);
    serve_histogram_add(&m.batches, 3);
    serve_metrics_text(&text, &row, 1);
    for (size_t i = 0; i < RWF_COUNT(lines); i++)
        ck_assert_msg(strstr(text.data, lines[i]) != NULL, "%s is not in %s", lines[i],
                      text.data);
    json_t *json = serve_metrics_json(&m);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "requests")), 3);
    json_decref(json);
    rwf_str_free(&text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_metrics");
    TCase *t = tcase_create("metrics");
    rwf_mem_init();
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, test_quantiles);
    tcase_add_test(t, test_ends);
    tcase_add_test(t, test_statuses);
    tcase_add_test(t, test_text);
    tcase_add_test(t, test_application);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
