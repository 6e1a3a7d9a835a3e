# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libfar.a
libfar_a_SOURCES = %D%/bridge.c %D%/bridge.h %D%/bridge_far.c %D%/bridge_impl.h %D%/data.c \
	%D%/data.h %D%/doctor.c %D%/far.c %D%/far.h %D%/folders.c %D%/forward.c %D%/inside.h \
	%D%/peers.c %D%/peers.h %D%/places.c %D%/places.h %D%/plugins.c %D%/span.c %D%/span.h \
	%D%/span_impl.h %D%/span_in.c %D%/span_items.c %D%/span_out.c %D%/step.c %D%/step.h \
	%D%/step_far.c %D%/step_json.c %D%/steps.c %D%/steps.h %D%/tree.c %D%/tree.h \
	%D%/tree_disk.c %D%/tree_flow.c %D%/tree_serve.c
