# SPDX-License-Identifier: Apache-2.0
# RWF_WITH_CUDA: --with-cuda=DIR|yes|no. By default raywf-cuda.so is built where nvcc is found,
# but for the folders of sanitizers and fuzzers; asking for it where it is not is an error.
AC_DEFUN([RWF_WITH_CUDA],[
AC_ARG_WITH([cuda],[AS_HELP_STRING([--with-cuda=DIR],[CUDA toolkit; no: build without (default: when found)])],[],[with_cuda=guess])
AC_ARG_VAR([NVCC],[CUDA compiler])
AS_IF([test "x$with_cuda" = xguess],[
  AS_CASE(["$enable_sanitizer,$enable_fuzzers"],[,|no,|,no|no,no],[],[with_cuda=no])])
have_cuda=no
AS_IF([test "x$with_cuda" != xno],[
  AS_CASE([$with_cuda],[yes|guess],[cuda_dir=/usr/local/cuda],[cuda_dir=$with_cuda])
  AC_PATH_PROG([NVCC],[nvcc],[],[$cuda_dir/bin:$PATH])
  AS_IF([test -n "$NVCC" && test -f "$cuda_dir/include/cuda_runtime_api.h"],[
    AC_MSG_CHECKING([whether $NVCC works])
    echo '__global__ void none() {}' >conftest.cu
    # It wants a C++ compiler, too.
    AS_IF([$NVCC -arch=sm_80 -c -o conftest.cu.o conftest.cu >&AS_MESSAGE_LOG_FD 2>&1],[have_cuda=yes])
    rm -f conftest.cu conftest.cu.o
    AC_MSG_RESULT([$have_cuda])])
  AS_IF([test $have_cuda = no && test "x$with_cuda" != xguess],
    [AC_MSG_ERROR([no CUDA toolkit in $cuda_dir (an nvcc that works, with a C++ compiler, and include/cuda_runtime_api.h are looked for)])])])
AM_CONDITIONAL([HAVE_CUDA],[test $have_cuda = yes])
AC_SUBST([cuda_dir])
])
