# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libnative.a
libnative_a_SOURCES = %D%/raywf.h %D%/client.h %D%/msg.h %D%/internal.h
# A worker.
libnative_a_SOURCES += %D%/worker.c %D%/worker.h %D%/serve.c %D%/serve.h %D%/call.c %D%/call.h \
	%D%/peer.c %D%/peer.h %D%/gate.c %D%/gate.h %D%/plugin.c %D%/plugin.h
