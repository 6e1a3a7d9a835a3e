# SPDX-License-Identifier: Apache-2.0
# RWF_WITH_DUCKDB: where duckdb.h is (needed to build datasets) and libduckdb.so (needed to run
# them; looked for again at run time). bootstrap puts both into .deps/duckdb.
AC_DEFUN([RWF_WITH_DUCKDB],[
AC_ARG_WITH([duckdb],[AS_HELP_STRING([--with-duckdb=DIR],[folder with duckdb.h and libduckdb.so (default: .deps/duckdb)])],[],[with_duckdb=guess])
AS_CASE([$with_duckdb],
  [guess|yes],[duckdb_dir=`cd "$srcdir" && pwd`/.deps/duckdb],
  [/*],[duckdb_dir=$with_duckdb],
  [duckdb_dir=`pwd`/$with_duckdb])
have_duckdb=no
AS_IF([test "x$with_duckdb" != xno && test -f "$duckdb_dir/duckdb.h"],[
  have_duckdb=yes
  AC_SUBST([DUCKDB_CPPFLAGS],["-isystem $duckdb_dir"])
  AC_DEFINE_UNQUOTED([RWF_DUCKDB_DIR],["$duckdb_dir"],[where libduckdb.so was at configure time])
  AC_DEFINE([HAVE_DUCKDB],[1],[duckdb.h was there])])
AS_IF([test $have_duckdb = no && test "x$with_duckdb" != xguess && test "x$with_duckdb" != xno],
  [AC_MSG_ERROR([no duckdb.h in $duckdb_dir])])
AM_CONDITIONAL([HAVE_DUCKDB],[test $have_duckdb = yes])
AM_CONDITIONAL([HAVE_DUCKDB_LIB],[test $have_duckdb = yes && test -f "$duckdb_dir/libduckdb.so"])
AC_SUBST([duckdb_dir])
])
