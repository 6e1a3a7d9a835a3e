# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_base
check_base_SOURCES = tests/unit/check_base.c
check_base_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_base_LDADD = libbase.a $(RWF_LIBS) $(CHECK_LIBS)
