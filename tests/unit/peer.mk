# SPDX-License-Identifier: Apache-2.0
peer_rig = tests/unit/peer_rig.c tests/unit/peer_rig.h
check_PROGRAMS += check_peer
check_peer_SOURCES = tests/unit/check_peer.c $(peer_rig)
check_peer_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit
check_peer_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_peer_LDADD = libpeer.a libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_peer_object
check_peer_object_SOURCES = tests/unit/check_peer_object.c tests/unit/store_support.h $(peer_rig)
check_peer_object_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit
check_peer_object_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_peer_object_LDADD = libpeer.a libstore.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
