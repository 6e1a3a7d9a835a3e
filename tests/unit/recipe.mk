# SPDX-License-Identifier: Apache-2.0
RECIPE_TEST_LIBS = librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_recipe_yaml check_recipe_schema check_recipe_load
check_recipe_yaml_SOURCES = tests/unit/check_recipe_yaml.c
check_recipe_yaml_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_recipe_yaml_LDADD = $(RECIPE_TEST_LIBS)
check_recipe_schema_SOURCES = tests/unit/check_recipe_schema.c
check_recipe_schema_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_recipe_schema_LDADD = $(RECIPE_TEST_LIBS)
check_recipe_load_SOURCES = tests/unit/check_recipe_load.c
check_recipe_load_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_recipe_load_LDADD = $(RECIPE_TEST_LIBS)
