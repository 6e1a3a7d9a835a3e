# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_search
check_search_SOURCES = tests/unit/check_search.c
check_search_LDADD = libsearch.a libtune.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_search_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
