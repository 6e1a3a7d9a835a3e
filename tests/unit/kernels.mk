# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_kernels_grad
check_kernels_grad_SOURCES = tests/unit/check_kernels_grad.c
check_kernels_grad_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) -Wno-missing-prototypes
check_kernels_grad_LDADD = $(CHECK_LIBS) -lm
KERNEL_TEST_RIG = tests/unit/kernels_rig.c tests/unit/kernels_rig.h
check_PROGRAMS += check_kernels
check_kernels_SOURCES = tests/unit/check_kernels.c $(KERNEL_TEST_RIG)
check_kernels_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_kernels_LDADD = libkernels.a $(CHECK_LIBS) -lm -lpthread
check_PROGRAMS += check_kernels_layers
check_kernels_layers_SOURCES = tests/unit/check_kernels_layers.c $(KERNEL_TEST_RIG)
check_kernels_layers_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_kernels_layers_LDADD = libkernels.a $(CHECK_LIBS) -lm -lpthread
check_PROGRAMS += check_kernels_loss
check_kernels_loss_SOURCES = tests/unit/check_kernels_loss.c $(KERNEL_TEST_RIG)
check_kernels_loss_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_kernels_loss_LDADD = libkernels.a $(CHECK_LIBS) -lm -lpthread
