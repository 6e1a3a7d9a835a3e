# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_bring_up
check_bring_up_SOURCES = tests/unit/check_bring_up.c
check_bring_up_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_bring_up_LDADD = libcluster.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
