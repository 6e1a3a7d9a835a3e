# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libplan.a
libplan_a_SOURCES = %D%/graph.h %D%/key.h %D%/op.h %D%/picture.h %D%/planfile.h %D%/builtin.h
