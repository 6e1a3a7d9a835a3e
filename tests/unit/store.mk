# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_ring
check_ring_SOURCES = tests/unit/check_ring.c tests/unit/store_support.h
check_ring_LDADD = libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_ring_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
