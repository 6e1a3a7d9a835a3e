# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libview.a
libview_a_SOURCES = \
	%D%/curve.c %D%/curve.h %D%/github.c %D%/github.h %D%/junit.c %D%/junit.h %D%/live.c %D%/live.h \
	%D%/progress.c %D%/progress.h %D%/progress_draw.c %D%/progress_inside.h %D%/run.c %D%/run.h \
	%D%/style.c %D%/style.h %D%/summary.c %D%/summary.h %D%/timeline.c %D%/timeline.h
# The report, and the page that is embedded for it.
libview_a_SOURCES += %D%/report.c %D%/report.h %D%/report_parts.h %D%/report_data.c \
	%D%/report_history.c %D%/report_logs.c %D%/report_search.c
# Searches, serving.
libview_a_SOURCES += %D%/serve.c %D%/serve.h
libview_a_SOURCES += %D%/search.c %D%/search.h %D%/search_text.c %D%/importance.c
report_html = $(srcdir)/%D%/report.html
report_css = $(srcdir)/%D%/report.css
report_js = $(srcdir)/%D%/report_base.js $(srcdir)/%D%/report_graph.js \
	$(srcdir)/%D%/report_timeline.js $(srcdir)/%D%/report_metrics.js \
	$(srcdir)/%D%/report_search.js $(srcdir)/%D%/report_plot.js \
	$(srcdir)/%D%/report_parallel.js \
	$(srcdir)/%D%/report_steps.js $(srcdir)/%D%/report_page.js
report_made = %D%/report_html.c %D%/report_css.c %D%/report_js.c
EXTRA_DIST += $(report_html) $(report_css) $(report_js)
nodist_libview_a_SOURCES = $(report_made)
CLEANFILES += $(report_made)

# One asset: its files, joined, as a C array.
embed_asset = $(AM_V_GEN)$(MKDIR_P) %D% && cat $(1) >$@.in && \
	$(EMBED) $(2) $@.in >$@.tmp && rm -f $@.in && mv $@.tmp $@
%D%/report_html.c: $(report_html) $(top_srcdir)/tools/embed.sh
	$(call embed_asset,$(report_html),view_report_html)
%D%/report_css.c: $(report_css) $(top_srcdir)/tools/embed.sh
	$(call embed_asset,$(report_css),view_report_css)
%D%/report_js.c: $(report_js) $(top_srcdir)/tools/embed.sh
	$(call embed_asset,$(report_js),view_report_js)
