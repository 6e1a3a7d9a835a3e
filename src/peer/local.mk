# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libpeer.a
libpeer_a_SOURCES = %D%/peer.h %D%/inside.h %D%/plane.c %D%/loop.c %D%/loop.h %D%/conn.c
# Objects.
libpeer_a_SOURCES += %D%/bulk.h %D%/bulk.c %D%/gone.c %D%/item.c %D%/fetch.c %D%/serve.c %D%/lend.c \
	%D%/tree.c %D%/tree.h %D%/keeper.c
