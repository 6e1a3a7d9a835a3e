# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_map_paths
check_map_paths_SOURCES = tests/unit/check_map_paths.c
check_map_paths_LDADD = librun.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_map_paths_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
