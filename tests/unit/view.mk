# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_report
check_report_SOURCES = tests/unit/check_report.c tests/unit/plan_support.h
check_report_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_report_LDADD = libview.a librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a \
	libschedule.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_view
check_view_SOURCES = tests/unit/check_view.c tests/unit/plan_support.h
check_view_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_view_LDADD = $(check_report_LDADD)
check_PROGRAMS += check_search_view
check_search_view_SOURCES = tests/unit/check_search_view.c tests/unit/plan_support.h
check_search_view_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_search_view_LDADD = $(check_report_LDADD)
