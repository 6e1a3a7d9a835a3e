# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_safetensors
check_safetensors_SOURCES = tests/unit/check_safetensors.c tests/unit/safetensors_golden.h
check_safetensors_LDADD = libtensor.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_safetensors_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
EXTRA_DIST += tests/unit/safetensors_golden.py

CHECKPOINT_TEST_LDADD = libtrain.a libtensor.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_checkpoint check_tensorboard
check_checkpoint_SOURCES = tests/unit/check_checkpoint.c
check_checkpoint_LDADD = $(CHECKPOINT_TEST_LDADD)
check_checkpoint_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_tensorboard_SOURCES = tests/unit/check_tensorboard.c
check_tensorboard_LDADD = $(CHECKPOINT_TEST_LDADD)
check_tensorboard_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
