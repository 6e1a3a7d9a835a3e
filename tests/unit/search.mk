# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_search
check_search_SOURCES = tests/unit/check_search.c
check_search_LDADD = libsearch.a libtune.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_search_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_PROGRAMS += check_trials
check_trials_SOURCES = tests/unit/check_trials.c tests/unit/plan_support.h
check_trials_LDADD = librun.a libsearch.a libtune.a libhead.a libfar.a libnode.a libpeer.a libnative.a \
	libbundle.a libstore.a libschedule.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS) \
	$(CHECK_LIBS)
check_trials_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
