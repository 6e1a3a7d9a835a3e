# SPDX-License-Identifier: Apache-2.0
# End to end, numbered by layer so that the first failure is the most basic one.

CORPUS_TESTS = tests/t/t1010-corpus.sh tests/t/t1011-schema-agrees.sh
dist_check_SCRIPTS += $(CORPUS_TESTS)
TESTS += $(CORPUS_TESTS)
EXTRA_DIST += tests/corpus tests/t/schema_agrees.py

t_scripts = %D%/t0001-cli.sh %D%/t0010-completion.sh %D%/t1001-check.sh %D%/t1100-plan.sh \
	%D%/t1200-run.sh %D%/t1210-stop-resume.sh %D%/t1220-secrets.sh %D%/t1230-gpus.sh \
	%D%/t1300-outputs.sh %D%/t1310-datasets.sh %D%/t1900-recipes.sh %D%/t2000-simulate.sh \
	%D%/t2050-cluster.sh %D%/t2051-drain.sh %D%/t2052-doctor.sh %D%/t2055-remote.sh \
	%D%/t2056-tls.sh %D%/t2057-tls-recipe.sh %D%/t2060-jobs.sh %D%/t2065-values.sh %D%/t2070-cluster-run.sh \
	%D%/t2071-cluster-files.sh %D%/t2072-cluster-kinds.sh %D%/t2080-bring-up.sh %D%/t2080-gang.sh \
	%D%/t2090-gang-files.sh %D%/t2090-slurm.sh %D%/t2100-tasks.sh %D%/t2150-node.sh \
	%D%/t2200-actors.sh %D%/t2300-native.sh %D%/t2310-views.sh %D%/t4000-train.sh %D%/t4010-mlp.sh \
	%D%/t4020-ddp.sh %D%/t4030-programs.sh %D%/t4040-lm.sh %D%/t4500-tune.sh \
	%D%/t4510-tune-train.sh %D%/t5000-serve.sh %D%/t5010-serve-live.sh %D%/t5020-serve-cluster.sh \
	%D%/t5500-models.sh %D%/t6000-llm.sh
EXTRA_DIST += %D%/train.sh %D%/serve.sh
EXTRA_DIST += %D%/llm_openai.py
TESTS += $(t_scripts)
dist_check_SCRIPTS += $(t_scripts)
EXTRA_DIST += %D%/lib.sh
dist_check_SCRIPTS += %D%/ssh.sh
EXTRA_DIST += %D%/slurm.sh

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

# What an engine says to its server, for t5020.
EXTRA_PROGRAMS += %D%/serve_control
%C%_serve_control_SOURCES = %D%/serve_control.c
%C%_serve_control_LDADD = libserve.a libwire.a libbase.a $(RWF_LIBS)
check_DATA += %D%/serve_control$(EXEEXT)
CLEANFILES += %D%/serve_control$(EXEEXT)

# Ranks, for t2080.
EXTRA_PROGRAMS += %D%/gang_reduce
%C%_gang_reduce_SOURCES = %D%/gang_reduce.c
%C%_gang_reduce_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS)
%C%_gang_reduce_LDADD = $(MPI_LIBS)
check_DATA += %D%/gang_reduce$(EXEEXT)
CLEANFILES += %D%/gang_reduce$(EXEEXT)

# The same for t2050.
EXTRA_PROGRAMS += %D%/cluster_driver
%C%_cluster_driver_SOURCES = %D%/cluster_driver.c
%C%_cluster_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_cluster_driver_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS)
check_DATA += %D%/cluster_driver$(EXEEXT) %D%/cluster_plugin.so
CLEANFILES += %D%/cluster_driver$(EXEEXT) %D%/cluster_plugin.so
EXTRA_DIST += %D%/cluster_plugin.c

# And for t2055.
EXTRA_PROGRAMS += %D%/remote_driver
%C%_remote_driver_SOURCES = %D%/remote_driver.c
%C%_remote_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_remote_driver_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS)
check_DATA += %D%/remote_driver$(EXEEXT) %D%/remote_plugin.so
CLEANFILES += %D%/remote_driver$(EXEEXT) %D%/remote_plugin.so
EXTRA_DIST += %D%/remote_plugin.c

# What processes on two nodes do, for t2065.
EXTRA_PROGRAMS += %D%/value_driver
%C%_value_driver_SOURCES = %D%/value_driver.c
%C%_value_driver_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
%C%_value_driver_LDADD = libnative.a libstore.a libwire.a libbase.a $(RWF_LIBS)
check_DATA += %D%/value_driver$(EXEEXT)
CLEANFILES += %D%/value_driver$(EXEEXT)
