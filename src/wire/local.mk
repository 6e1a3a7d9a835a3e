# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libwire.a libwirepb.a
libwire_a_SOURCES = %D%/auth.c %D%/curl.c %D%/curl.h %D%/frame.c %D%/frame.h %D%/hello.c %D%/http.c %D%/http.h \
	%D%/inbox.h %D%/key.c %D%/link.c %D%/link.h %D%/link_impl.h %D%/link_tcp.c \
	%D%/listen.c %D%/messages.def %D%/stream.c %D%/tls.c %D%/tls.h %D%/tls_carry.c \
	%D%/tls_context.c %D%/tls_impl.h %D%/unix.c %D%/unix.h
libwire_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
libwire_a_LIBADD = $(libwirepb_a_OBJECTS)
libwire_a_DEPENDENCIES = $(libwirepb_a_OBJECTS)

# The messages: generated into the build tree, and not held to our warnings.
nodist_libwirepb_a_SOURCES = %D%/wire.pb-c.c %D%/wire.pb-c.h
libwirepb_a_CFLAGS = -std=gnu11 -w -fPIC -fvisibility=hidden $(HARDEN_CFLAGS) $(PROTOBUF_C_CFLAGS)
BUILT_SOURCES += %D%/wire.pb-c.h
CLEANFILES += %D%/wire.pb-c.c %D%/wire.pb-c.h
EXTRA_DIST += schemas/wire.proto

%D%/wire.pb-c.c: schemas/wire.proto
	$(AM_V_GEN)$(MKDIR_P) %D% && $(PROTOC_C) --proto_path=$(top_srcdir)/schemas \
		--c_out=%D% $(top_srcdir)/schemas/wire.proto
# Both come from one command, the header after the source.
%D%/wire.pb-c.h: %D%/wire.pb-c.c
	@test -f $@ || { rm -f %D%/wire.pb-c.c; $(MAKE) $(AM_MAKEFLAGS) %D%/wire.pb-c.c; }
	@touch $@
$(libwire_a_OBJECTS) $(libwirepb_a_OBJECTS): %D%/wire.pb-c.h
