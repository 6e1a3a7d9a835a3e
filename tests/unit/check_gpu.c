/* SPDX-License-Identifier: Apache-2.0
 *
 * GPUs: by the double, by a stand-in of the driver's library (fake_nvml.c), and by the
 * real one where there is one. What is found is kept, so each test is a process.
 */
#include "config.h"
#include "node/gpu.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "node/machine.h"

#define GIB ((int64_t)1 << 30)

static const struct node_gpu *gpus;

static void setup(void)
{
    static const char *const names[] = {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER",
                                        "RAYWF_FAKE_GPUS", "RAYWF_NVML"};
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        unsetenv(names[i]);
}

static void use_library(const char *cards)
{
    const char *build = getenv("abs_top_builddir");
    char *path = rwf_xasprintf("%s/tests/unit/fake_nvml.so", build ? build : ".");
    setenv("RAYWF_NVML", path, 1);
    setenv("FAKE_CARDS", cards, 1);
    free(path);
}

static void add_variable(void *ctx, const char *name, const char *value)
{
    rwf_str_addf(ctx, "%s=%s\n", name, value);
}

/* The environment of a process with these GPUs is want. */
static void assert_env(const char *want, double share, int count, const int *ids)
{
    struct rwf_str text = {0};
    node_gpu_env(ids, count, share, add_variable, &text);
    ck_assert_str_eq(text.data, want);
    rwf_str_free(&text);
}

static void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "'%s' lacks '%s'", text, part);
}

/* --- the double --- */

START_TEST(double_gives_what_it_says)
{
    struct node_gpu_use uses[3];
    setenv("RAYWF_FAKE_GPUS", "2x24GiB,1x80GiB", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 3);
    ck_assert_int_eq(gpus[1].memory, 24 * GIB);
    ck_assert_int_eq(gpus[2].memory, 80 * GIB);
    ck_assert_str_eq(gpus[2].visible, "2");
    ck_assert_str_ne(gpus[0].uuid, gpus[1].uuid);
    assert_has(node_gpus_source(), "RAYWF_FAKE_GPUS");
    ck_assert_str_eq(node_gpus_problems(), "");
    node_gpus_look(uses);
    ck_assert_int_eq(uses[2].busy, 0);
    ck_assert_str_eq(uses[2].problem, "");
}
END_TEST

START_TEST(double_names_what_it_cannot_read)
{
    setenv("RAYWF_FAKE_GPUS", "2x24,1x16GiB,x3GiB,-1x1GiB,65x1GiB", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 1);
    ck_assert_int_eq(gpus[0].memory, 16 * GIB);
    assert_has(node_gpus_problems(), "'2x24'");
    assert_has(node_gpus_problems(), "'x3GiB'");
    assert_has(node_gpus_problems(), "'-1x1GiB'");
    assert_has(node_gpus_problems(), "'65x1GiB'");
}
END_TEST

START_TEST(double_of_none)
{
    setenv("RAYWF_FAKE_GPUS", "", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 0);
    ck_assert_int_eq(node_gpus_guess(), 0);
}
END_TEST

START_TEST(double_is_bounded)
{
    setenv("RAYWF_FAKE_GPUS", "40x1GiB,40x1GiB", 1);
    ck_assert_uint_eq(node_gpus(&gpus), NODE_GPU_MAX);
}
END_TEST

/* --- the machine of the scheduler --- */

START_TEST(machine_has_them)
{
    struct schedule_machine m;
    setenv("RAYWF_FAKE_GPUS", "1x24GiB,1x80GiB", 1);
    setenv("CUDA_VISIBLE_DEVICES", "1", 1);
    node_machine(&m);
    ck_assert_int_eq(m.gpu_count, 1);
    ck_assert_int_eq(m.gpu_memory[0], 80 * GIB);
}
END_TEST

START_TEST(machine_in_a_hurry_opens_nothing)
{
    struct schedule_machine m;
    use_library("3");
    setenv("FAKE_INIT", "9", 1);
    node_machine_quick(&m);
    ck_assert_ptr_null(m.gpu_memory);
    unsetenv("FAKE_INIT"); /* so that who looks now finds them */
    ck_assert_uint_eq(node_gpus(&gpus), 3);
}
END_TEST

/* --- what a process gets --- */

START_TEST(a_share_is_told)
{
    setenv("RAYWF_FAKE_GPUS", "2x24GiB,1x80GiB", 1);
    assert_env("CUDA_VISIBLE_DEVICES=2\nCUDA_DEVICE_ORDER=PCI_BUS_ID\n"
               "RAYWF_GPU_FRACTION=0.25\nRAYWF_GPU_MEMORY=21474836480\n",
               0.25, 1, (int[]){2});
}
END_TEST

START_TEST(of_several_the_smallest_counts)
{
    setenv("RAYWF_FAKE_GPUS", "1x80GiB,2x24GiB", 1);
    assert_env("CUDA_VISIBLE_DEVICES=0,2\nCUDA_DEVICE_ORDER=PCI_BUS_ID\n"
               "RAYWF_GPU_FRACTION=1\nRAYWF_GPU_MEMORY=25769803776\n",
               1, 2, (int[]){0, 2});
}
END_TEST

START_TEST(none_hides_all)
{
    setenv("RAYWF_FAKE_GPUS", "1x80GiB", 1);
    assert_env("CUDA_VISIBLE_DEVICES=\n", 1, 0, NULL);
}
END_TEST

/* --- CUDA_VISIBLE_DEVICES --- */

struct visible {
    const char *given;
    const char *names; /* what is offered, in this order */
    const char *problem;
};

static const struct visible visible_cases[] = {
    {"2,0", "2 0 ", ""},
    {" 1 , 0", "1 0 ", ""},
    {"", "", ""},
    {"-1", "", ""},
    {"1,-1,0", "1 ", ""},
    {"0,7,1", "0 ", "'7' is no GPU"},
    {"1,1", "1 ", "'1' is named twice"},
    {"GPU-2222,GPU-0", "GPU-2222 GPU-0 ", ""},
    {"GPU-", "", "'GPU-' is no GPU"},
    {"NoDevFiles", "", "'NoDevFiles' is no GPU"},
    {"GPU-1,GPU-1111", "GPU-1 ", "'GPU-1111' is named twice"},
    {"0,GPU-1111", "0 ", "'GPU-1111' comes in a list that mixes"},
    {"GPU-1111,0", "GPU-1111 ", "'0' comes in a list that mixes"},
    {"0,,1", "0 ", "'' is no GPU"},
};

START_TEST(visible_limits_and_orders)
{
    const struct visible *want = &visible_cases[_i];
    struct rwf_str names = {0};
    use_library("3");
    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
    setenv("CUDA_VISIBLE_DEVICES", want->given, 1);
    size_t count = node_gpus(&gpus);
    rwf_str_add(&names, "");
    for (size_t i = 0; i < count; i++)
        rwf_str_addf(&names, "%s ", gpus[i].visible);
    ck_assert_str_eq(names.data, want->names);
    if (*want->problem == '\0')
        ck_assert_str_eq(node_gpus_problems(), "");
    else
        assert_has(node_gpus_problems(), want->problem);
    rwf_str_free(&names);
}
END_TEST

START_TEST(an_id_is_a_place_among_the_visible)
{
    use_library("3");
    setenv("CUDA_VISIBLE_DEVICES", "GPU-2222,GPU-0000", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 2);
    ck_assert_int_eq(gpus[0].memory, 16 * GIB);
    assert_env("CUDA_VISIBLE_DEVICES=GPU-2222\nRAYWF_GPU_FRACTION=0.5\n"
               "RAYWF_GPU_MEMORY=8589934592\n",
               0.5, 1, (int[]){0});
    assert_env("CUDA_VISIBLE_DEVICES=GPU-0000\nRAYWF_GPU_FRACTION=1\n"
               "RAYWF_GPU_MEMORY=85899345920\n",
               1, 1, (int[]){1});
}
END_TEST

START_TEST(mixed_cards_by_index_are_doubted)
{
    use_library("3");
    setenv("CUDA_VISIBLE_DEVICES", "2,0", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 2);
    assert_has(node_gpus_problems(), "CUDA_DEVICE_ORDER=PCI_BUS_ID");
}
END_TEST

/* --- the driver's library --- */

START_TEST(library_tells)
{
    struct node_gpu_use uses[3];
    use_library("3");
    ck_assert_uint_eq(node_gpus(&gpus), 3);
    ck_assert_str_eq(gpus[0].name, "NVIDIA H100");
    ck_assert_str_eq(gpus[2].name, "Tesla T4");
    ck_assert_str_eq(gpus[1].uuid, "GPU-1111");
    ck_assert_str_eq(gpus[1].visible, "1");
    ck_assert_int_eq(gpus[0].memory, 80 * GIB);
    ck_assert_str_eq(node_gpus_source(), "driver 580.1, CUDA 13.1");
    for (int again = 0; again < 2; again++) {
        node_gpus_look(uses);
        ck_assert_int_eq(uses[2].memory, 3 * GIB);
        ck_assert_int_eq(uses[2].busy, 20);
        ck_assert_int_eq(uses[0].processes, 0);
        ck_assert_int_eq(uses[2].processes, 2);
        ck_assert_str_eq(uses[2].problem, "");
    }
}
END_TEST

START_TEST(library_without_a_driver)
{
    use_library("3");
    setenv("FAKE_INIT", "9", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 0);
    assert_has(node_gpus_problems(), "Driver Not Loaded: load the kernel module");
    assert_has(node_gpus_problems(), "--gpus all");
}
END_TEST

START_TEST(library_of_another_driver)
{
    use_library("3");
    setenv("FAKE_INIT", "18", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 0);
    assert_has(node_gpus_problems(), "version mismatch: the driver was updated");
}
END_TEST

START_TEST(library_is_missing)
{
    setenv("RAYWF_NVML", "/nowhere/libnvidia-ml.so.1", 1);
    size_t count = node_gpus(&gpus);
    ck_assert_uint_eq(count, (size_t)node_gpus_guess()); /* what device files tell */
    assert_has(count > 0 ? node_gpus_problems() : node_gpus_source(),
               "cannot open /nowhere/libnvidia-ml.so.1");
}
END_TEST

START_TEST(library_is_another)
{
    setenv("RAYWF_NVML", "libm.so.6", 1);
    ck_assert_uint_eq(node_gpus(&gpus), (size_t)node_gpus_guess());
}
END_TEST

START_TEST(a_lost_card_is_left_out)
{
    use_library("3");
    setenv("FAKE_LOST", "1", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 2);
    /* Indexes may have shifted: only UUIDs are sure. */
    ck_assert_str_eq(gpus[1].visible, "GPU-2222");
    ck_assert_int_eq(gpus[1].index, 2);
    assert_has(node_gpus_problems(), "GPU 1 is not offered: GPU is lost");
    assert_env("CUDA_VISIBLE_DEVICES=GPU-0000,GPU-2222\nRAYWF_GPU_FRACTION=1\n"
               "RAYWF_GPU_MEMORY=17179869184\n",
               1, 2, (int[]){0, 1});
}
END_TEST

START_TEST(a_card_lost_meanwhile_is_told)
{
    struct node_gpu_use uses[2];
    use_library("2");
    ck_assert_uint_eq(node_gpus(&gpus), 2);
    setenv("FAKE_LOST_LATER", "1", 1);
    node_gpus_look(uses);
    ck_assert_str_eq(uses[0].problem, "");
    assert_has(uses[1].problem, "GPU is lost");
    ck_assert_int_eq(uses[1].memory, -1);
    setenv("FAKE_INIT", "9", 1); /* and then the driver goes */
    node_gpus_look(uses);
    assert_has(uses[0].problem, "Driver Not Loaded");
}
END_TEST

START_TEST(mig_instances_are_gpus)
{
    struct node_gpu_use uses[4];
    use_library("3");
    setenv("FAKE_MIG", "1", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 4);
    ck_assert_str_eq(gpus[0].visible, "GPU-0000");
    ck_assert_str_eq(gpus[1].visible, "MIG-1-0");
    ck_assert_str_eq(gpus[2].visible, "MIG-1-2");
    ck_assert_int_eq(gpus[2].memory, 10 * GIB);
    node_gpus_look(uses);
    ck_assert_int_eq(uses[2].busy, -1); /* not told of instances */
    ck_assert_int_eq(uses[2].memory, 2 * GIB);
}
END_TEST

START_TEST(memory_may_be_unknown)
{
    struct node_gpu_use use;
    use_library("1");
    setenv("FAKE_SHARED", "1", 1);
    ck_assert_uint_eq(node_gpus(&gpus), 1);
    ck_assert_int_eq(gpus[0].memory, 0);
    assert_env("CUDA_VISIBLE_DEVICES=0\nCUDA_DEVICE_ORDER=PCI_BUS_ID\n"
               "RAYWF_GPU_FRACTION=0.5\n",
               0.5, 1, (int[]){0});
    node_gpus_look(&use);
    ck_assert_int_eq(use.memory, -1);
    ck_assert_str_eq(use.problem, "");
}
END_TEST

/* Where there are GPUs, they look sane; where not, the reason is told. */
START_TEST(this_machine)
{
    struct node_gpu_use uses[NODE_GPU_MAX];
    size_t count = node_gpus(&gpus);
    ck_assert_str_ne(node_gpus_source(), "");
    node_gpus_look(uses);
    for (size_t i = 0; i < count; i++) {
        ck_assert_str_ne(gpus[i].name, "");
        ck_assert_int_ge(gpus[i].memory, 0);
        ck_assert_int_le(uses[i].memory, gpus[i].memory);
        ck_assert_int_le(uses[i].busy, 100);
        printf("%s %s %" PRId64 " MiB\n", gpus[i].name, gpus[i].uuid,
               gpus[i].memory >> 20);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {double_gives_what_it_says,
                                  double_names_what_it_cannot_read,
                                  double_of_none,
                                  double_is_bounded,
                                  machine_has_them,
                                  machine_in_a_hurry_opens_nothing,
                                  a_share_is_told,
                                  of_several_the_smallest_counts,
                                  none_hides_all,
                                  an_id_is_a_place_among_the_visible,
                                  mixed_cards_by_index_are_doubted,
                                  library_tells,
                                  library_without_a_driver,
                                  library_of_another_driver,
                                  library_is_missing,
                                  library_is_another,
                                  a_lost_card_is_left_out,
                                  a_card_lost_meanwhile_is_told,
                                  mig_instances_are_gpus,
                                  memory_may_be_unknown,
                                  this_machine};
    Suite *suite = suite_create("gpu");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, NULL);
    for (size_t i = 0; i < RWF_COUNT(tests); i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_loop_test(tc, visible_limits_and_orders, 0,
                        (int)RWF_COUNT(visible_cases));
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
