# SPDX-License-Identifier: Apache-2.0

check_PROGRAMS += check_proc
check_proc_SOURCES = tests/unit/check_proc.c
check_proc_LDADD = librun.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_proc_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
