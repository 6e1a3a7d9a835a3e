# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += raywf
raywf_SOURCES = \
	%D%/args.c %D%/cmd.h %D%/commands.def %D%/completion.c %D%/help.c %D%/main.c \
	%D%/man.c %D%/output.c %D%/table.c %D%/version.c
raywf_LDADD = libview.a libdata.a librun.a libschedule.a libplan.a librecipe.a libwire.a \
	libbase.a $(RWF_LIBS)
