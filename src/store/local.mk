# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libstore.a
libstore_a_SOURCES = %D%/store.h %D%/inside.h
# Messages between two processes.
libstore_a_SOURCES += %D%/ring.c %D%/ring.h %D%/bell.c %D%/bell.h
# Objects.
libstore_a_SOURCES += %D%/table.c %D%/slots.c %D%/entry.c %D%/unit.c %D%/slab.c %D%/object.c \
	%D%/list.c %D%/prefault.c
# What does not fit.
libstore_a_SOURCES += %D%/spill.c %D%/victims.c %D%/victims.h %D%/crc32c.c %D%/crc32c.h
