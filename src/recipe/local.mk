# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librecipe.a
librecipe_a_SOURCES = %D%/diag.def %D%/diag.h %D%/expr.h %D%/node.h %D%/recipe.h %D%/schema.h \
	%D%/expr.c %D%/expr_parse.h %D%/condition.c
