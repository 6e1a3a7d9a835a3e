# SPDX-License-Identifier: Apache-2.0

check_PROGRAMS += check_proc
check_proc_SOURCES = tests/unit/check_proc.c
check_proc_LDADD = librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a libschedule.a \
	libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_proc_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_PROGRAMS += check_log check_state
check_log_SOURCES = tests/unit/check_log.c tests/unit/run_support.h
check_log_LDADD = librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a libschedule.a \
	libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_state_SOURCES = tests/unit/check_state.c tests/unit/run_support.h
check_state_LDADD = librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a \
	libschedule.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_state_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_cache
check_cache_SOURCES = tests/unit/check_cache.c
check_cache_LDADD = librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a \
	libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_cache_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_engine
check_engine_SOURCES = tests/unit/check_engine.c tests/unit/run_support.h
check_engine_LDADD = librun.a libsearch.a libtune.a libhead.a libfar.a libnode.a libpeer.a libnative.a libstore.a libschedule.a libplan.a \
	librecipe.a libwire.a libbundle.a libbase.a \
	$(RWF_LIBS) $(CHECK_LIBS)
check_engine_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_PROGRAMS += check_service
check_service_SOURCES = tests/unit/check_service.c tests/unit/run_support.h
check_service_LDADD = $(check_engine_LDADD)
check_service_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
