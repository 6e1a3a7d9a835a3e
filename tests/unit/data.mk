# SPDX-License-Identifier: Apache-2.0
DATA_TEST_LDADD = libdata.a libplan.a libwire.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
EXTRA_DIST += tests/unit/data_help.h
check_PROGRAMS += check_sql
check_sql_SOURCES = tests/unit/check_sql.c
check_sql_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
check_sql_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_sql_LDADD = $(DATA_TEST_LDADD)
