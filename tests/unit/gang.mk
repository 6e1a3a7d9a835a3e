# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_gang
check_gang_SOURCES = tests/unit/check_gang.c
check_gang_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_gang_LDADD = libgang.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
