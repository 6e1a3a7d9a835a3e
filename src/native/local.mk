# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libnative.a
libnative_a_SOURCES = %D%/raywf.h %D%/client.h %D%/msg.h %D%/internal.h %D%/lane.h %D%/refs.h
# A worker.
libnative_a_SOURCES += %D%/worker.c %D%/worker.h %D%/serve.c %D%/serve.h %D%/call.c %D%/call.h \
	%D%/call_impl.h %D%/reply.c %D%/peer.c %D%/peer.h %D%/gate.c %D%/gate.h %D%/plugin.c %D%/plugin.h
# A client.
libnative_a_SOURCES += %D%/client.c %D%/control.c %D%/control.h %D%/session.c %D%/session.h \
	%D%/pump.c %D%/lane.c %D%/near.c %D%/near.h %D%/send.c %D%/receive.c %D%/retry.c %D%/refs.c %D%/values.c %D%/values.h \
	%D%/task.c %D%/args.c %D%/args.h %D%/calls.c %D%/calls.h %D%/lineage.c %D%/lineage.h \
	%D%/remote.c %D%/remote.h %D%/group.c %D%/group.h %D%/copy.c %D%/copy.h
# Actors and streams of a client.
libnative_a_SOURCES += %D%/client_actor.c %D%/client_stream.c %D%/watch.c

# For programs and plugins of others: raywf.h, libraywf.so and raywf.pc. Only what raywf.h declares
# is visible. Within a worker a plugin finds the same functions in the program itself.
include_HEADERS = %D%/raywf.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = raywf.pc
rwflibdir = $(libdir)
rwflib_DATA = libraywf.so.0
noinst_DATA = libraywf.so
CLEANFILES += libraywf.so.0 libraywf.so
EXTRA_DIST += %D%/libraywf.map %D%/raywf.list %D%/raywf.pc.in
libraywf_archives = libstore.a libwire.a libbase.a
libraywf.so.0: libnative.a $(libraywf_archives) %D%/libraywf.map
	$(AM_V_CCLD)$(CC) $(CFLAGS) -shared -Wl,-soname,libraywf.so.0 $(LDFLAGS) -Wl,-z,relro -Wl,-z,now \
		-Wl,--as-needed -Wl,--version-script=$(top_srcdir)/src/native/libraywf.map -o $@ \
		-Wl,--whole-archive libnative.a -Wl,--no-whole-archive $(libraywf_archives) $(RWF_LIBS)
libraywf.so: libraywf.so.0
	$(AM_V_GEN)rm -f $@ && $(LN_S) libraywf.so.0 $@
install-data-hook:
	cd "$(DESTDIR)$(rwflibdir)" && rm -f libraywf.so && $(LN_S) libraywf.so.0 libraywf.so
uninstall-hook:
	rm -f "$(DESTDIR)$(rwflibdir)/libraywf.so"
