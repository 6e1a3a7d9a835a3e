# SPDX-License-Identifier: Apache-2.0
# The fast_*.c are compiled once per variant, with its flags and its VARIANT; all objects are
# in libkernels.a. No stack protector in them: their functions are short and called often.
cpu_fast = %D%/fast.c %D%/fast.h %D%/fast_attention.c %D%/fast_elements.c %D%/fast_few.c \
	%D%/fast_layers.c %D%/fast_losses.c %D%/fast_math.h %D%/fast_matmul.c \
	%D%/fast_dot.h %D%/fast_paged.c %D%/fast_q4.c \
	%D%/fast_sample.c %D%/fast_softmax.h %D%/vec.h
cpu_fast_cflags = $(AM_CFLAGS) -O3 -fno-math-errno -fno-stack-protector
noinst_LIBRARIES += libkernels.a libkernels_plain.a
libkernels_plain_a_SOURCES = $(cpu_fast)
libkernels_plain_a_CPPFLAGS = $(AM_CPPFLAGS) -DVARIANT=plain
libkernels_plain_a_CFLAGS = $(cpu_fast_cflags)
libkernels_a_SOURCES = \
	%D%/awq.h %D%/bf16.h %D%/cpu.c %D%/host.c %D%/host.h %D%/philox.h %D%/pool.c \
	%D%/pool.h %D%/reference.c %D%/reference.h %D%/reference_attention.c \
	%D%/reference_infer.c %D%/reference_layers.c %D%/reference_loss.c \
	%D%/reference_matmul.c %D%/reference_q4.c %D%/reference_sample.c %D%/sample.h
libkernels_a_LIBADD = $(libkernels_plain_a_OBJECTS)
libkernels_a_DEPENDENCIES = $(libkernels_plain_a_OBJECTS)
if HAVE_CPU_X86
noinst_LIBRARIES += libkernels_avx2.a libkernels_avx512.a
libkernels_avx2_a_SOURCES = $(cpu_fast)
libkernels_avx2_a_CPPFLAGS = $(AM_CPPFLAGS) -DVARIANT=avx2
libkernels_avx2_a_CFLAGS = $(cpu_fast_cflags) $(AVX2_CFLAGS)
libkernels_avx512_a_SOURCES = $(cpu_fast)
libkernels_avx512_a_CPPFLAGS = $(AM_CPPFLAGS) -DVARIANT=avx512
libkernels_avx512_a_CFLAGS = $(cpu_fast_cflags) $(AVX512_CFLAGS)
libkernels_a_LIBADD += $(libkernels_avx2_a_OBJECTS) $(libkernels_avx512_a_OBJECTS)
libkernels_a_DEPENDENCIES += $(libkernels_avx2_a_OBJECTS) $(libkernels_avx512_a_OBJECTS)
endif
if HAVE_CPU_BF16
noinst_LIBRARIES += libkernels_avx512bf16.a
libkernels_avx512bf16_a_SOURCES = $(cpu_fast)
libkernels_avx512bf16_a_CPPFLAGS = $(AM_CPPFLAGS) -DVARIANT=avx512bf16
libkernels_avx512bf16_a_CFLAGS = $(cpu_fast_cflags) $(AVX512BF16_CFLAGS)
libkernels_a_LIBADD += $(libkernels_avx512bf16_a_OBJECTS)
libkernels_a_DEPENDENCIES += $(libkernels_avx512bf16_a_OBJECTS)
endif
