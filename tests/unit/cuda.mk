# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_cuda check_cuda_decoder check_cuda_infer check_cuda_layers check_cuda_paged
cuda_rig = tests/unit/cuda_rig.c tests/unit/cuda_rig.h
check_cuda_SOURCES = tests/unit/check_cuda.c $(cuda_rig)
check_cuda_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_cuda_LDADD = libkernels.a $(CHECK_LIBS) -ldl -lm -lpthread
check_cuda_decoder_SOURCES = tests/unit/check_cuda_decoder.c $(cuda_rig)
check_cuda_decoder_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_cuda_decoder_LDADD = libkernels.a $(CHECK_LIBS) -ldl -lm -lpthread
check_cuda_layers_SOURCES = tests/unit/check_cuda_layers.c $(cuda_rig)
check_cuda_layers_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_cuda_layers_LDADD = libkernels.a $(CHECK_LIBS) -ldl -lm -lpthread
check_cuda_infer_SOURCES = tests/unit/check_cuda_infer.c $(cuda_rig)
check_cuda_infer_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_cuda_infer_LDADD = libkernels.a $(CHECK_LIBS) -ldl -lm -lpthread
check_cuda_paged_SOURCES = tests/unit/check_cuda_paged.c $(cuda_rig)
check_cuda_paged_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_cuda_paged_LDADD = libkernels.a $(CHECK_LIBS) -ldl -lm -lpthread
