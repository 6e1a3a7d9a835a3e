# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libnative.a
libnative_a_SOURCES = %D%/raywf.h %D%/client.h %D%/msg.h %D%/internal.h
# A worker.
libnative_a_SOURCES += %D%/worker.c %D%/worker.h %D%/serve.c %D%/serve.h %D%/call.c %D%/call.h \
	%D%/peer.c %D%/peer.h %D%/gate.c %D%/gate.h %D%/plugin.c %D%/plugin.h
# A client.
libnative_a_SOURCES += %D%/client.c %D%/control.c %D%/control.h %D%/session.c %D%/session.h \
	%D%/pump.c %D%/lane.c %D%/send.c %D%/receive.c %D%/retry.c %D%/refs.c %D%/values.c %D%/values.h \
	%D%/task.c %D%/args.c %D%/args.h %D%/calls.c %D%/calls.h %D%/lineage.c %D%/lineage.h \
	%D%/remote.c %D%/remote.h %D%/group.c %D%/group.h
