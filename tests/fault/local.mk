# SPDX-License-Identifier: Apache-2.0
# What happens when something goes wrong: slow, so "make check-fault" and not "make check".
FAULT_TESTS = \
	%D%/hostile.sh \
	%D%/nth-failure.sh \
	%D%/concurrent.sh \
	%D%/kill-resume.sh \
	%D%/full-disk.sh \
	%D%/native-bad.sh \
	%D%/native-kill.sh \
	%D%/native-restart.sh \
	%D%/native-clients.sh \
	%D%/train-kill.sh \
	%D%/train-data.sh \
	%D%/train-disk.sh \
	%D%/serve-replica.sh \
	%D%/serve-update.sh \
	%D%/serve-server.sh \
	%D%/job-head.sh \
	%D%/net-hostile.sh \
	%D%/net-partition.sh \
	%D%/net-nodes.sh \
	%D%/net-remote.sh %D%/net-tls.sh %D%/net-tls-run.sh \
	%D%/net-run.sh \
	%D%/net-gang.sh
EXTRA_DIST += $(FAULT_TESTS) %D%/train.sh %D%/failn.c %D%/lib.sh %D%/disk.sh %D%/native.sh %D%/native_plugin.c \
	%D%/native_result.h %D%/native_kill.c %D%/native_bad.c %D%/native_clients.c \
	%D%/serve.sh %D%/serve_load.c %D%/serve_plugin.c
CLEANFILES += failn.so

failn.so: %D%/failn.c
	$(AM_V_CC)$(CC) -std=gnu11 $(WARN_CFLAGS) -O1 -g -fPIC -shared -o $@ $< -ldl

check-fault: all failn.so $(net_programs)
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(NET_TESTS) $(FAULT_TESTS)'
.PHONY: check-fault check-fuzz
