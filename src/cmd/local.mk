# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += raywf
raywf_SOURCES = \
	%D%/actors.c %D%/agent.c %D%/alive.c %D%/alive.h %D%/args.c %D%/bench.c %D%/cache.c \
	%D%/change.c %D%/change.h %D%/check.c %D%/cmd.h %D%/commands.def %D%/compile.c %D%/compile.h \
	%D%/completion.c %D%/daemon.c %D%/daemon.h %D%/diff.c %D%/doctor.c %D%/doctor.h \
	%D%/doctor_nodes.c %D%/doctor_rows.c %D%/drive.c %D%/drive.h %D%/events.c %D%/explain.c \
	%D%/fit.c %D%/fit.h %D%/fit_cluster.c %D%/fit_recipe.c %D%/graph.c %D%/head_find.c %D%/head_find.h %D%/help.c \
	%D%/history.c %D%/history.h %D%/init.c %D%/job.c %D%/job.h %D%/job_fetch.c %D%/job_run.c \
	%D%/job_stage.c %D%/job_stage.h %D%/job_submit.c %D%/logs.c %D%/main.c %D%/man.c %D%/nodes.c \
	%D%/objects.c %D%/on_cluster.c %D%/on_cluster.h %D%/opened.c %D%/opened.h %D%/ops.c \
	%D%/output.c %D%/plan.c %D%/preview.c %D%/preview.h %D%/preview_search.c %D%/preview_search.h \
	%D%/ps.c %D%/render.c %D%/render.h %D%/report.c %D%/report_metric.c %D%/resolve.c \
	%D%/resolve.h %D%/resume.c %D%/run.c %D%/run_step.c %D%/runtime.c %D%/runtime.h %D%/schema.c \
	%D%/serve.c %D%/serve.h %D%/serve_front.c %D%/serve_live.c %D%/serve_model.c %D%/session.c \
	%D%/shutdown.c %D%/simulate.c %D%/slurm_watch.c %D%/slurm_watch.h %D%/start.c %D%/start.h \
	%D%/start_set.c %D%/status.c %D%/status_cluster.c %D%/status_cluster.h %D%/stop.c %D%/table.c \
	%D%/timeline.c %D%/tune.c %D%/up.c %D%/version.c %D%/why.c %D%/worker.c
raywf_LDADD = libview.a libserve.a libllm.a libhttp.a libtrain.a libgang.a libmodel.a libtext.a \
	libtensor.a libkernels.a libdata.a librun.a libjob.a libsearch.a libtune.a libcluster.a \
	libhead.a libfar.a libnode.a libpeer.a libnative.a libbundle.a libstore.a libschedule.a libplan.a \
	librecipe.a libwire.a libbase.a $(TEXT_LIBS) $(RWF_LIBS)
# A plugin finds the functions of raywf.h in the program: all are there, and visible.
raywf_LDFLAGS = $(AM_LDFLAGS) -Wl,--dynamic-list=$(top_srcdir)/src/native/raywf.list \
	-Wl,--whole-archive,libnative.a,--no-whole-archive
EXTRA_raywf_DEPENDENCIES = $(top_srcdir)/src/native/raywf.list

# What `raywf init` writes.
cmd_templates = %D%/templates/start.yaml %D%/templates/matrix.yaml \
	%D%/templates/dataset.yaml %D%/templates/github.yml
nodist_raywf_SOURCES = cmd_templates.c
CLEANFILES += cmd_templates.c
EXTRA_DIST += $(cmd_templates)
cmd_templates.c: $(cmd_templates) tools/embed.sh
	$(AM_V_GEN)for f in $(cmd_templates); do \
		name=`basename $$f | sed 's/\..*//'`; \
		$(EMBED) cmd_template_$$name $(top_srcdir)/$$f || exit 1; \
	done > $@.tmp && mv $@.tmp $@

# What --format json prints, by command.
nobase_dist_pkgdata_DATA += schemas/outputs/actors.json schemas/outputs/bench.json schemas/outputs/fit.json schemas/outputs/shutdown.json schemas/outputs/job.json schemas/outputs/nodes.json \
	schemas/outputs/objects.json schemas/outputs/start.json schemas/outputs/up.json schemas/outputs/timeline.json schemas/outputs/trace.json
nobase_dist_pkgdata_DATA += schemas/outputs/check.json schemas/outputs/diff.json \
	schemas/outputs/envelope.json schemas/outputs/plan.json schemas/outputs/ps.json \
	schemas/outputs/run.json schemas/outputs/serve.json schemas/outputs/simulate.json schemas/outputs/tune.json schemas/outputs/status.json schemas/outputs/status-cluster.json schemas/outputs/doctor.json schemas/outputs/why.json
