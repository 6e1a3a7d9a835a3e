# SPDX-License-Identifier: Apache-2.0
# Plugins for the tests: one source each.
test_plugins = %D%/plugins/plain.so %D%/plugins/abi.so %D%/plugins/size.so \
	%D%/plugins/hollow.so %D%/plugins/other.so %D%/plugins/undefined.so \
	%D%/plugins/work.so
check_DATA += $(test_plugins)
CLEANFILES += $(test_plugins)
EXTRA_DIST += %D%/plugins/plain.c %D%/plugins/abi.c %D%/plugins/size.c \
	%D%/plugins/hollow.c %D%/plugins/other.c %D%/plugins/undefined.c \
	%D%/plugins/work.c
%D%/plugins/%.so: %D%/plugins/%.c src/native/raywf.h
	$(AM_V_CCLD)$(MKDIR_P) %D%/plugins && $(CC) -I$(top_srcdir)/src $(WARN_CFLAGS) \
		$(CFLAGS) -fPIC -shared -o $@ $<

check_PROGRAMS += check_copy
check_copy_SOURCES = tests/unit/check_copy.c
check_copy_LDADD = libnative.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_copy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_plugin
check_plugin_SOURCES = tests/unit/check_plugin.c
check_plugin_LDADD = libnative.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_plugin_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_client
check_client_SOURCES = tests/unit/check_client.c tests/unit/native_rig.c tests/unit/native_rig.h
check_client_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_client_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_worker
check_worker_SOURCES = tests/unit/check_worker.c tests/unit/worker_rig.h
check_worker_LDADD = libstore.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_worker_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_actor
check_actor_SOURCES = tests/unit/check_actor.c
check_actor_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_actor_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_watch
check_watch_SOURCES = tests/unit/check_watch.c
check_watch_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_watch_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
