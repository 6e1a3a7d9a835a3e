/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors, one way: a function returns 0/-1 or pointer/NULL and, as its last argument,
 * takes a struct rwf_err * (which may be NULL) that says what went wrong.
 * `code` is an errno value or one of RWF_E_*; the latter decide the exit code.
 */
#ifndef RWF_BASE_ERR_H
#define RWF_BASE_ERR_H

enum rwf_code {
    RWF_E_BASE = 100000, /* above every errno */
#define RWF_EXIT(name, code, help) RWF_E_##name = 100000 + (code),
#include "base/exit.def"
#undef RWF_EXIT
};

struct rwf_err {
    int code;
    char text[1024];
};

#define RWF_ERR_INIT { 0, "" }

/* Sets *err and returns -1, so that a failure is one line. */
int rwf_fail(struct rwf_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the text of *err, keeps its code and returns -1. */
int rwf_wrap(struct rwf_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The process exit code for err: RWF_E_* as in exit.def; an errno value gives 7. */
int rwf_exit_code(const struct rwf_err *err);

/* One line of help for an exit code, or NULL when it is not one of ours. */
const char *rwf_exit_help(int exit_code);

/* Of two exit codes the one whose cause ranks higher (0 ranks lowest). */
int rwf_exit_worse(int a, int b);

/* A condition that only a bug can break. Always on; input never trips it. */
#define rwf_assert(cond) \
    ((cond) ? (void)0 : rwf_assert_failed(#cond, __FILE__, __LINE__))
void rwf_assert_failed(const char *cond, const char *file, int line)
    __attribute__((noreturn));

#endif
