# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libkernels.a
libkernels_a_SOURCES = \
	%D%/bf16.h %D%/cpu.c %D%/host.c %D%/host.h %D%/philox.h %D%/pool.c %D%/pool.h \
	%D%/reference.c %D%/reference.h %D%/reference_attention.c %D%/reference_layers.c \
	%D%/reference_loss.c %D%/reference_matmul.c
