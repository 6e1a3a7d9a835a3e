# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_train_op
check_train_op_SOURCES = tests/unit/check_train_op.c
check_train_op_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_train_op_LDADD = libtrain.a libgang.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
