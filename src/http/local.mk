# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libhttp.a
libhttp_a_SOURCES = %D%/access.c %D%/check.c %D%/client.c %D%/client.h %D%/client_impl.h \
	%D%/client_link.c %D%/compose.c %D%/compose.h %D%/conn.c %D%/impl.h %D%/listen.c \
	%D%/log.c %D%/mhd.c %D%/mhd.h %D%/parse.c %D%/parse.h %D%/reply.c %D%/request.c \
	%D%/server.c %D%/server.h %D%/tcp.c %D%/tcp.h %D%/text.c %D%/text.h
libhttp_a_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS)
