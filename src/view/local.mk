# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libview.a
libview_a_SOURCES = %D%/style.c %D%/style.h
