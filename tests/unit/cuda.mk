# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_cuda
check_cuda_SOURCES = tests/unit/check_cuda.c tests/unit/cuda_rig.c tests/unit/cuda_rig.h
check_cuda_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_cuda_LDADD = libkernels.a $(CHECK_LIBS) -ldl -lm -lpthread
