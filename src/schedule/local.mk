# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libschedule.a
libschedule_a_SOURCES = %D%/schedule.h %D%/state.h 
