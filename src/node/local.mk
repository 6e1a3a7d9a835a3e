# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libnode.a
libnode_a_SOURCES = %D%/machine.c %D%/machine.h %D%/gpu.c %D%/gpu.h %D%/nvml.c %D%/nvml.h
# One process of a step.
libnode_a_SOURCES += %D%/proc.c %D%/proc.h %D%/attempt.c %D%/attempt.h %D%/spawn.c %D%/spawn.h \
	%D%/capture.c %D%/capture.h %D%/limit.c %D%/limit.h %D%/procfs.c %D%/procfs.h \
	%D%/outcome.c %D%/outcome.h
# Workers, clients, the head.
libnode_a_SOURCES += %D%/node.c %D%/node.h %D%/inside.h %D%/table.c %D%/table.h %D%/clients.c \
	%D%/wants.c %D%/pool.c %D%/worker.c %D%/rings.c %D%/leases.c %D%/actors.c %D%/deaths.c \
	%D%/memory.c %D%/memory.h %D%/pressure.c %D%/service.c %D%/forward.c %D%/uplink.c \
	%D%/list.c
