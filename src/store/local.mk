# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libstore.a
libstore_a_SOURCES = %D%/store.h
# Messages between two processes.
libstore_a_SOURCES += %D%/ring.c %D%/ring.h %D%/bell.c %D%/bell.h
