# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librecipe.a
librecipe_a_SOURCES = \
	%D%/condition.c \
	%D%/diag.c \
	%D%/diag.def \
	%D%/diag.h \
	%D%/diag_print.c \
	%D%/diag_print.h \
	%D%/expr.c \
	%D%/expr.h \
	%D%/expr_parse.h \
	%D%/include.c \
	%D%/load.h \
	%D%/lookup.c \
	%D%/merge.c \
	%D%/node.c \
	%D%/node.h \
	%D%/params.c \
	%D%/pattern.c \
	%D%/pattern.h \
	%D%/recipe.c \
	%D%/recipe.h \
	%D%/schema.h \
	%D%/schema_check.c \
	%D%/schema_check.h \
	%D%/schema_check_impl.h \
	%D%/schema_compile.c \
	%D%/schema_compile.h \
	%D%/schema_help.c \
	%D%/schema_help.h \
	%D%/schema_say.c \
	%D%/secrets.c \
	%D%/sources.c \
	%D%/sources.h \
	%D%/yaml.c \
	%D%/yaml.h \
	%D%/yaml_error.c \
	%D%/yaml_error.h
nodist_librecipe_a_SOURCES = recipe_schema_json.c

recipe_schema_json.c: schemas/recipe.schema.json tools/embed.sh
	$(AM_V_GEN)$(EMBED) recipe_schema_json $(top_srcdir)/schemas/recipe.schema.json > $@.tmp \
		&& mv $@.tmp $@
CLEANFILES += recipe_schema_json.c
nobase_dist_pkgdata_DATA += schemas/recipe.schema.json
