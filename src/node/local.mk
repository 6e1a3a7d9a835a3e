# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libnode.a
libnode_a_SOURCES = %D%/actors.c %D%/attempt.c %D%/attempt.h %D%/capture.c %D%/capture.h \
	%D%/clients.c %D%/deaths.c %D%/drain.c %D%/gpu.c %D%/gpu.h %D%/inside.h %D%/leases.c \
	%D%/limit.c %D%/limit.h %D%/list.c %D%/machine.c %D%/machine.h %D%/memory.c %D%/memory.h \
	%D%/node.c %D%/node.h %D%/nvml.c %D%/nvml.h %D%/outcome.c %D%/outcome.h %D%/pool.c \
	%D%/pressure.c %D%/proc.c %D%/proc.h %D%/procfs.c %D%/procfs.h %D%/rings.c %D%/service.c \
	%D%/spawn.c %D%/spawn.h %D%/uplink.c %D%/wants.c %D%/worker.c
