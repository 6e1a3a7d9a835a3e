# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_gpu
check_gpu_SOURCES = tests/unit/check_gpu.c
check_gpu_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_gpu_LDADD = libnode.a libschedule.a libplan.a librecipe.a libbase.a \
	$(RWF_LIBS) $(CHECK_LIBS)
# A stand-in of the driver's library, opened by check_gpu.
EXTRA_DIST += tests/unit/fake_nvml.c
EXTRA_check_gpu_DEPENDENCIES = tests/unit/fake_nvml.so
CLEANFILES += tests/unit/fake_nvml.so
tests/unit/fake_nvml.so: tests/unit/fake_nvml.c
	$(AM_V_CCLD)$(MKDIR_P) tests/unit && $(CC) $(WARN_CFLAGS) -Wno-missing-prototypes $(CFLAGS) -fPIC -shared -o $@ $(srcdir)/tests/unit/fake_nvml.c
check_PROGRAMS += check_node
check_node_SOURCES = tests/unit/check_node.c
check_node_LDADD = libfar.a libnode.a libpeer.a libbundle.a libstore.a libschedule.a libplan.a \
	librecipe.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_node_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
