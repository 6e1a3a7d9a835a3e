# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_kernels_grad
check_kernels_grad_SOURCES = tests/unit/check_kernels_grad.c
check_kernels_grad_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -Wno-missing-prototypes
check_kernels_grad_LDADD = $(CHECK_LIBS) -lm
