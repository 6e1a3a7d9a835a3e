# SPDX-License-Identifier: Apache-2.0
# Hosts, a network that is broken on purpose, and what checks a history; the head of net.sh
# says how tests use them. Everything is listed here, and run with the fault tests.
NET_TESTS = %D%/harness.sh %D%/checker.sh
NET_TESTS += %D%/object.sh
EXTRA_DIST += $(NET_TESTS) %D%/net.sh %D%/cluster.sh
EXTRA_PROGRAMS += %D%/proxy %D%/tcp %D%/hostile %D%/history_driver %D%/history_check %D%/fuzz_peer %D%/sniff
%C%_proxy_SOURCES = %D%/proxy.c
%C%_tcp_SOURCES = %D%/tcp.c
%C%_sniff_SOURCES = %D%/sniff.c
%C%_hostile_SOURCES = %D%/hostile.c
%C%_hostile_LDADD = libwire.a libbase.a $(RWF_LIBS)
%C%_history_driver_SOURCES = %D%/history_driver.c %D%/history.h
%C%_history_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_history_driver_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS)
%C%_history_check_SOURCES = %D%/history_check.c
%C%_fuzz_peer_SOURCES = %D%/fuzz_peer.c
%C%_fuzz_peer_LDADD = libwire.a libbase.a $(RWF_LIBS)
EXTRA_DIST += %D%/history_plugin.c
net_programs = %D%/proxy$(EXEEXT) %D%/tcp$(EXEEXT) %D%/hostile$(EXEEXT) %D%/fuzz_peer$(EXEEXT) %D%/sniff$(EXEEXT) \
	%D%/history_driver$(EXEEXT) %D%/history_check$(EXEEXT) %D%/history_plugin.so
CLEANFILES += $(net_programs)
%D%/history_plugin.so: %D%/history_plugin.c %D%/history.h src/native/raywf.h
	$(AM_V_CCLD)$(MKDIR_P) %D% && $(CC) -I$(top_srcdir)/src/native $(WARN_CFLAGS) $(CFLAGS) \
		-std=gnu11 -fPIC -shared -o $@ $(srcdir)/%D%/history_plugin.c
