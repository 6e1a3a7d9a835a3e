/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies by several threads: every byte, and none beyond, also when no thread can be
 * had.
 */
#include "config.h"
#include "native/copy.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define GUARD 64

static const size_t sizes[] = {
    0, 1, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 33 * MIB + 17};

static void copies(size_t size)
{
    unsigned char *from = malloc(size + 1), *to = malloc(size + GUARD);
    ck_assert(from != NULL && to != NULL);
    for (size_t i = 0; i < size; i++)
        from[i] = (unsigned char)(i * 31 + (i >> 20) * 7);
    memset(to, 0xa5, size + GUARD);
    native__copy(to, from, size);
    ck_assert(size == 0 || memcmp(to, from, size) == 0);
    for (size_t i = size; i < size + GUARD; i++)
        ck_assert_uint_eq(to[i], 0xa5);
    free(from);
    free(to);
}

START_TEST(every_byte)
{
    copies(sizes[_i]);
}
END_TEST

START_TEST(without_helpers)
{
    struct rlimit old, none;
    if (getuid() == 0 && setuid(65534) != 0)
        return;
    /* The leak sanitizer traces its process, and needs a thread at the end. */
    prctl(PR_SET_DUMPABLE, 1);
    ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &old), 0);
    none = (struct rlimit){0, old.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0); /* binds all but root */
    copies(33 * MIB + 17);
    ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &old), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy");
    TCase *tc = tcase_create("all");
    tcase_add_loop_test(tc, every_byte, 0, (int)(sizeof(sizes) / sizeof(*sizes)));
    tcase_add_test(tc, without_helpers);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
