# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_ring
check_ring_SOURCES = tests/unit/check_ring.c tests/unit/store_support.h
check_ring_LDADD = libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_ring_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_store
check_store_SOURCES = tests/unit/check_store.c tests/unit/store_support.h
check_store_LDADD = libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_store_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_store_model
check_store_model_SOURCES = tests/unit/check_store_model.c tests/unit/store_support.h
check_store_model_LDADD = libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_store_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_store_kill
check_store_kill_SOURCES = tests/unit/check_store_kill.c tests/unit/store_support.h
check_store_kill_LDADD = libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_store_kill_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
