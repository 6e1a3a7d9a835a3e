/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices are found or their absence is explained; blocks are carved as the table says.
 */
#include "config.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "tensor/device.h"

/* Of fake_device.c, which is this program's CPU. */
const struct kernels *raywf_kernels(void);

const struct kernels *kernels_cpu(void)
{
    return raywf_kernels();
}

static char *module_path(void)
{
    const char *top = getenv("abs_top_builddir");
    return rwf_fs_join(top != NULL ? top : ".", "tests/unit/fake_device.so");
}

START_TEST(opens_the_cpu_and_closes)
{
    struct device d;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(device_open(&d, "cpu", 0, 2, &err), 0);
    ck_assert_str_eq(d.info.name, "fake 0");
    void *p = device_alloc(&d, 100, "a test", &err);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_null(device_alloc(&d, 2 << 20, "the embeddings", &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_str_eq(err.text, "no memory for the embeddings on fake 0: it needs 2.0 MiB, "
                               "free are 1024 KiB");
    d.k->free(d.c, p);
    device_close(&d);
    device_close(&d);
}
END_TEST

START_TEST(opens_the_module_that_is_named)
{
    struct device d;
    struct rwf_err err = RWF_ERR_INIT;
    char *path = module_path();
    setenv("RAYWF_CUDA", path, 1);
    ck_assert_msg(device_open(&d, "cuda", 3, 0, &err) == 0, "%s", err.text);
    ck_assert_str_eq(d.info.name, "fake 3");
    setenv("FAKE_FAULT", "matmul: out of range", 1);
    ck_assert_int_eq(device_sync(&d, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_FAILED);
    ck_assert_str_eq(err.text, "fake 3: matmul: out of range");
    unsetenv("FAKE_FAULT");
    ck_assert_int_eq(device_sync(&d, &err), 0);
    device_close(&d);
    free(path);
}
END_TEST

static const struct {
    const char *device, *module, *variable, *value;
    int code;
    const char *says;
} refused[] = {
    { "tpu", NULL, NULL, NULL, RWF_E_RECIPE, "device 'tpu' is not known: cpu or cuda" },
    { "cuda", "/nowhere", NULL, NULL, RWF_E_ENV, "looked for: /nowhere/raywf-cuda.so)" },
    { "cuda", "/nowhere/x.so", NULL, NULL, RWF_E_ENV, "or take device: cpu" },
    { "cuda", NULL, NULL, NULL, RWF_E_ENV, "configure raywf with --with-cuda" },
    { "cuda", "this", "FAKE_VERSION", "9", RWF_E_ENV, "its table is version 9" },
    { "cuda", "this", "FAKE_BROKEN", "1", RWF_E_ENV, "cuda device 0: no such device" },
    { "cuda", "/dev/null.so", NULL, NULL, RWF_E_ENV, "not found" },
};

static bool built_with_cuda(void)
{
    char *self = rwf_fs_self(), *folder = rwf_fs_dirname(self);
    char *beside = rwf_fs_join(folder, "raywf-cuda.so");
    bool there = rwf_fs_exists(beside) || rwf_fs_exists(RWF_PKGLIBDIR "/raywf-cuda.so");
    free(beside);
    free(folder);
    free(self);
    return there;
}

START_TEST(says_why_there_is_no_device)
{
    struct device d;
    struct rwf_err err = RWF_ERR_INIT;
    char *path = module_path();
    const char *module = refused[_i].module;
    if (module != NULL && strcmp(module, "this") == 0)
        module = path;
    if (module != NULL)
        setenv("RAYWF_CUDA", module, 1);
    else
        unsetenv("RAYWF_CUDA");
    if (refused[_i].variable != NULL)
        setenv(refused[_i].variable, refused[_i].value, 1);
    if (module == NULL && refused[_i].code == RWF_E_ENV && built_with_cuda()) {
        free(path);
        return; /* then it is found */
    }
    ck_assert_int_eq(device_open(&d, refused[_i].device, 0, 0, &err), -1);
    ck_assert_int_eq(err.code, refused[_i].code);
    ck_assert_msg(strstr(err.text, refused[_i].says) != NULL, "%s", err.text);
    ck_assert_ptr_null(d.c);
    free(path);
}
END_TEST

START_TEST(carves_a_block_by_its_table)
{
    struct device d;
    struct rwf_err err = RWF_ERR_INIT;
    void *a = NULL, *b = NULL, *c = NULL;
    const struct block_row rows[] = {
        { "weights", 100, &a },
        { "nothing", 0, &b },
        { "gradients", 257, &c },
    };
    ck_assert_int_eq(device_open(&d, "cpu", 0, 0, &err), 0);
    ck_assert_uint_eq(block_size(rows, 3), 256 + 512);
    char *block = block_carve(&d, rows, 3, NULL, &err);
    ck_assert_ptr_eq(a, block);
    ck_assert_ptr_eq(b, block + 256);
    ck_assert_ptr_eq(c, block + 256);
    memset(block, 1, 256 + 512);
    d.k->free(d.c, block);
    device_close(&d);
}
END_TEST

START_TEST(a_block_too_large_names_its_rows_and_the_knob)
{
    struct device d;
    struct rwf_err err = RWF_ERR_INIT;
    void *to;
    const struct block_row rows[] = {
        { "tiny", 1, &to },        { "middle", 5 << 10, &to }, { "big", 3 << 20, &to },
        { "small", 4 << 10, &to }, { "twin", 5 << 10, &to },
    };
    const struct block_row overflow[] = { { "a", SIZE_MAX / 2 + 1, &to },
                                          { "b", SIZE_MAX / 2 + 1, &to } };
    const struct block_row most[] = { { "a", SIZE_MAX, &to } };
    ck_assert_int_eq(device_open(&d, "cpu", 0, 0, &err), 0);
    ck_assert_ptr_null(block_carve(&d, rows, 5, "lower micro_batch_size", &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_str_eq(err.text,
                     "out of memory on fake 0: needed 3.0 MiB, free 1.0 MiB; the largest "
                     "parts: big 3.0 MiB, middle 5.0 KiB, twin 5.0 KiB; lower "
                     "micro_batch_size");
    ck_assert_ptr_null(block_carve(&d, overflow, 2, NULL, &err));
    ck_assert_ptr_null(block_carve(&d, most, 1, NULL, &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    device_close(&d);
}
END_TEST

START_TEST(prints_who_uses_what)
{
    void *to;
    const struct block_row rows[] = { { "weights", 1 << 20, &to }, { "state", 512, &to } };
    char path[] = "/tmp/raywf-device.XXXXXX";
    int fd = mkstemp(path), kept = dup(STDERR_FILENO);
    size_t len = 0;
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    block_print("parameters", rows, 2);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(fd);
    char *text = rwf_fs_read(path, 4096, &len, NULL);
    unlink(path);
    ck_assert_str_eq(text, "parameters: 1.0 MiB\n"
                           "       1.0 MiB  weights\n"
                           "         512 B  state\n");
    free(text);
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("device");
    TCase *t = tcase_create("device");
    suite_add_tcase(s, t);
    tcase_add_test(t, opens_the_cpu_and_closes);
    tcase_add_test(t, opens_the_module_that_is_named);
    tcase_add_loop_test(t, says_why_there_is_no_device, 0, RWF_COUNT(refused));
    tcase_add_test(t, carves_a_block_by_its_table);
    tcase_add_test(t, a_block_too_large_names_its_rows_and_the_knob);
    tcase_add_test(t, prints_who_uses_what);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
