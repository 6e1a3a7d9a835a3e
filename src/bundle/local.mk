# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libbundle.a
libbundle_a_SOURCES = %D%/bundle.h %D%/collect.c %D%/ignore.c %D%/ignore.h %D%/inside.h \
	%D%/path.c %D%/reader.c %D%/writer.c
