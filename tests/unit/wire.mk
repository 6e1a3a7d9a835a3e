# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_http
check_http_SOURCES = tests/unit/check_http.c
check_http_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_http_LDADD = libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_frame
check_frame_SOURCES = tests/unit/check_frame.c
check_frame_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_frame_LDADD = libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_link
check_link_SOURCES = tests/unit/check_link.c
check_link_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_link_LDADD = libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
