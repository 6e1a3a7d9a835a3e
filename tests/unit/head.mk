# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_head
check_head_SOURCES = tests/unit/check_head.c
check_head_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_head_LDADD = libhead.a libschedule.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
