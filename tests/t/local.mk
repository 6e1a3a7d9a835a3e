# SPDX-License-Identifier: Apache-2.0
# End to end, numbered by layer so that the first failure is the most basic one.

CORPUS_TESTS = tests/t/t1010-corpus.sh tests/t/t1011-schema-agrees.sh
dist_check_SCRIPTS += $(CORPUS_TESTS)
TESTS += $(CORPUS_TESTS)
EXTRA_DIST += tests/corpus tests/t/schema_agrees.py

t_scripts = %D%/t0001-cli.sh %D%/t0010-completion.sh %D%/t1001-check.sh \
	%D%/t1100-plan.sh %D%/t1200-run.sh %D%/t1210-stop-resume.sh %D%/t1220-secrets.sh %D%/t1230-gpus.sh \
	%D%/t1300-outputs.sh %D%/t1310-datasets.sh %D%/t1900-recipes.sh \
	%D%/t2000-simulate.sh %D%/t2050-cluster.sh %D%/t2100-tasks.sh %D%/t2150-node.sh \
	%D%/t2200-actors.sh
t_scripts += %D%/t2300-native.sh %D%/t2310-views.sh
t_scripts += %D%/t4000-train.sh %D%/t4010-mlp.sh %D%/t4020-ddp.sh %D%/t4030-programs.sh %D%/t4040-lm.sh
t_scripts += %D%/t4500-tune.sh %D%/t4510-tune-train.sh
EXTRA_DIST += %D%/train.sh
TESTS += $(t_scripts)
dist_check_SCRIPTS += $(t_scripts)
EXTRA_DIST += %D%/lib.sh

# A driver and plugins for t2150.
EXTRA_PROGRAMS += %D%/node_driver
%C%_node_driver_SOURCES = %D%/node_driver.c
%C%_node_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_node_driver_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS)
node_plugins = %D%/node_plugin.so %D%/node_crash.so
check_DATA += %D%/node_driver$(EXEEXT) $(node_plugins)
CLEANFILES += %D%/node_driver$(EXEEXT) $(node_plugins)
EXTRA_DIST += %D%/node_plugin.c %D%/node_crash.c
%D%/%.so: %D%/%.c src/native/raywf.h
	$(AM_V_CCLD)$(MKDIR_P) %D% && $(CC) -I$(top_srcdir)/src/native $(WARN_CFLAGS) $(CFLAGS) \
		-std=gnu11 -fPIC -shared -o $@ $<

# A user's program and its plugin, for t2100.
EXTRA_PROGRAMS += %D%/native_driver
%C%_native_driver_SOURCES = %D%/native_driver.c
%C%_native_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_native_driver_LDADD = libnative.a libwire.a libstore.a libbase.a $(RWF_LIBS)
check_DATA += %D%/native_driver$(EXEEXT) %D%/native_plugin.so
EXTRA_DIST += %D%/native_plugin.c
CLEANFILES += %D%/native_driver$(EXEEXT) %D%/native_plugin.so

# The same for t2050.
EXTRA_PROGRAMS += %D%/cluster_driver
%C%_cluster_driver_SOURCES = %D%/cluster_driver.c
%C%_cluster_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_cluster_driver_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS)
check_DATA += %D%/cluster_driver$(EXEEXT) %D%/cluster_plugin.so
CLEANFILES += %D%/cluster_driver$(EXEEXT) %D%/cluster_plugin.so
EXTRA_DIST += %D%/cluster_plugin.c
