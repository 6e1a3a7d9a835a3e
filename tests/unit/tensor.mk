# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_safetensors
check_safetensors_SOURCES = tests/unit/check_safetensors.c tests/unit/safetensors_golden.h
check_safetensors_LDADD = libtensor.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_safetensors_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
EXTRA_DIST += tests/unit/safetensors_golden.py
