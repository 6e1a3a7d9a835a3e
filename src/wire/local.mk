# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libwire.a
libwire_a_SOURCES = %D%/http.c %D%/http.h
libwire_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
