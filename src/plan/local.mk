# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libplan.a
libplan_a_SOURCES = %D%/graph.h %D%/key.h %D%/op.h %D%/picture.h %D%/planfile.h %D%/builtin.h %D%/inside.h \
	%D%/graph.c %D%/entries.c %D%/matrix.c %D%/scope.c %D%/scope_own.c %D%/scope_steps.c %D%/lookup.h \
	%D%/expand.c %D%/expand.h %D%/address.c %D%/texts.c %D%/check.c %D%/check_cluster.c \
	%D%/policy.c %D%/order.c %D%/edges.c %D%/prune.c %D%/resolve.c %D%/op_task.c %D%/op_native.c %D%/op_actor.c %D%/op_check.c \
	%D%/op_mock.c %D%/key.c %D%/planfile.c %D%/picture.c %D%/svg.c \
	%D%/boxes.c %D%/boxes.h %D%/search.c %D%/search.h %D%/search_lay.c %D%/search_settled.c
