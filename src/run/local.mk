# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librun.a
librun_a_SOURCES = %D%/cache.h %D%/engine.h %D%/events.def %D%/index.h %D%/layout.h %D%/log.h %D%/proc.h %D%/state.h 
