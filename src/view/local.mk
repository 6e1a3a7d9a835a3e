# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libview.a
libview_a_SOURCES = \
	%D%/github.c %D%/github.h %D%/junit.c %D%/junit.h %D%/live.c %D%/live.h \
	%D%/progress.c %D%/progress.h %D%/run.c %D%/run.h \
	%D%/style.c %D%/style.h %D%/summary.c %D%/summary.h
libview_a_SOURCES += %D%/report.c %D%/report.h
nodist_libview_a_SOURCES = %D%/report_html.c %D%/report_css.c %D%/report_js.c
EXTRA_DIST += %D%/report.html %D%/report.css %D%/report.js
CLEANFILES += %D%/report_html.c %D%/report_css.c %D%/report_js.c
%D%/report_html.c: %D%/report.html tools/embed.sh
	$(AM_V_GEN)$(MKDIR_P) %D% && $(EMBED) view_report_html $(srcdir)/%D%/report.html > $@.tmp && mv $@.tmp $@
%D%/report_css.c: %D%/report.css tools/embed.sh
	$(AM_V_GEN)$(MKDIR_P) %D% && $(EMBED) view_report_css $(srcdir)/%D%/report.css > $@.tmp && mv $@.tmp $@
%D%/report_js.c: %D%/report.js tools/embed.sh
	$(AM_V_GEN)$(MKDIR_P) %D% && $(EMBED) view_report_js $(srcdir)/%D%/report.js > $@.tmp && mv $@.tmp $@
