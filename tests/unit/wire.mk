# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_http
check_http_SOURCES = tests/unit/check_http.c
check_http_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_http_LDADD = libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
