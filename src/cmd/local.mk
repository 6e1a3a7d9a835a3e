# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += raywf
raywf_SOURCES = %D%/main.c
raywf_LDADD = libview.a libdata.a librun.a libschedule.a libplan.a librecipe.a libwire.a \
	libbase.a $(RWF_LIBS)
