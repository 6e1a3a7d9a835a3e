# SPDX-License-Identifier: Apache-2.0
# RWF_CPU: the flags of the CPU kernels' variants; HAVE_CPU_X86 where the compiler knows them.
AC_DEFUN([RWF_CPU],[
AVX2_CFLAGS="-mavx2 -mfma"
AVX512_CFLAGS="$AVX2_CFLAGS -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512"
rwf_saved_cflags=$CFLAGS
CFLAGS="$CFLAGS $AVX512_CFLAGS"
AC_MSG_CHECKING([whether the compiler makes AVX2 and AVX-512 code])
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <immintrin.h>]],
	[[__m512 x = _mm512_set1_ps(1); return (int)_mm512_reduce_add_ps(x);]])],
	[have_cpu_x86=yes],[have_cpu_x86=no])
AC_MSG_RESULT([$have_cpu_x86])
CFLAGS=$rwf_saved_cflags
AS_IF([test $have_cpu_x86 = yes],
	[AC_DEFINE([RWF_CPU_X86],[1],[the CPU kernels have AVX2 and AVX-512 variants])])
AM_CONDITIONAL([HAVE_CPU_X86],[test $have_cpu_x86 = yes])
AVX512BF16_CFLAGS="$AVX512_CFLAGS -mavx512bf16"
CFLAGS="$CFLAGS $AVX512BF16_CFLAGS"
AC_MSG_CHECKING([whether the compiler makes AVX-512 code for bfloat16])
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <immintrin.h>]],
	[[__m512 x = _mm512_set1_ps(1);
	  x = _mm512_dpbf16_ps(x, (__m512bh)x, (__m512bh)x);
	  return (int)_mm512_reduce_add_ps(x);]])],
	[have_cpu_bf16=$have_cpu_x86],[have_cpu_bf16=no])
AC_MSG_RESULT([$have_cpu_bf16])
CFLAGS=$rwf_saved_cflags
AS_IF([test $have_cpu_bf16 = yes],
	[AC_DEFINE([RWF_CPU_BF16],[1],[the CPU kernels have a variant for AVX-512 BF16])])
AM_CONDITIONAL([HAVE_CPU_BF16],[test $have_cpu_bf16 = yes])
AC_SUBST([AVX512BF16_CFLAGS])
AC_SUBST([AVX2_CFLAGS])
AC_SUBST([AVX512_CFLAGS])
])
