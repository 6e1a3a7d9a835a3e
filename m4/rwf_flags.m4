# SPDX-License-Identifier: Apache-2.0
# RWF_ENABLE_SANITIZER: --enable-sanitizer=address,undefined | thread.
AC_DEFUN([RWF_ENABLE_SANITIZER],[
AC_ARG_ENABLE([sanitizer],[AS_HELP_STRING([--enable-sanitizer=LIST],[address,undefined or thread])],[],[enable_sanitizer=no])
AS_IF([test "x$enable_sanitizer" = xyes],[enable_sanitizer=address,undefined])
AS_IF([test "x$enable_sanitizer" != xno],[
  CFLAGS="$CFLAGS -g -O1 -fsanitize=$enable_sanitizer -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
  AC_LINK_IFELSE([AC_LANG_PROGRAM],[],[AC_MSG_ERROR([-fsanitize=$enable_sanitizer does not link here])])
  AC_DEFINE([RWF_SANITIZED],[1],[built with a sanitizer])])
AM_CONDITIONAL([SANITIZED],[test "x$enable_sanitizer" != xno])
])

# RWF_ENABLE_FUZZERS: --enable-fuzzers. Everything is instrumented, with the sanitizers too, so
# it has a build folder of its own. Comes before RWF_ENABLE_SANITIZER.
AC_DEFUN([RWF_ENABLE_FUZZERS],[
AC_ARG_ENABLE([fuzzers],[AS_HELP_STRING([--enable-fuzzers],[build the libFuzzer targets (needs CC=clang)])],[],[enable_fuzzers=no])
AS_IF([test "x$enable_fuzzers" = xyes],[
  enable_sanitizer=address,undefined
  CFLAGS="$CFLAGS -fsanitize=fuzzer-no-link"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM],[],[AC_MSG_ERROR([--enable-fuzzers needs CC=clang])])])
AM_CONDITIONAL([FUZZERS],[test "x$enable_fuzzers" = xyes])
])

# RWF_HARDEN: warnings for all, and the flags that make memory bugs hard to exploit.
AC_DEFUN([RWF_HARDEN],[
WARN_CFLAGS="-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wvla"
HARDEN_CFLAGS=; HARDEN_LDFLAGS=
AS_IF([test "x$enable_sanitizer" = xno],[
  HARDEN_CFLAGS="-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection"
  HARDEN_LDFLAGS="-pie -Wl,-z,relro -Wl,-z,now -Wl,--as-needed"])
AC_SUBST([HARDEN_CFLAGS])
AC_SUBST([HARDEN_LDFLAGS])
])
