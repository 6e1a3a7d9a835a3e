# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_serve_model
check_serve_model_SOURCES = tests/unit/check_serve_model.c
check_serve_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_model_LDADD = libserve.a libtrain.a libmodel.a libtext.a libtensor.a libkernels.a \
	libwire.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_program
check_serve_program_SOURCES = tests/unit/check_serve_program.c
check_serve_program_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_program_LDADD = libserve.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_deployment
check_serve_deployment_SOURCES = tests/unit/check_serve_deployment.c tests/unit/serve_rig.c \
	tests/unit/serve_rig.h
check_serve_deployment_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_deployment_LDADD = libserve.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_app
check_serve_app_SOURCES = tests/unit/check_serve_app.c tests/unit/serve_rig.c \
	tests/unit/serve_rig.h tests/unit/serve_front.c tests/unit/serve_front.h
check_serve_app_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_app_LDADD = libserve.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_passed
check_serve_passed_SOURCES = tests/unit/check_serve_passed.c tests/unit/serve_front.c \
	tests/unit/serve_front.h
check_serve_passed_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_passed_LDADD = libserve.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_server
check_serve_server_SOURCES = tests/unit/check_serve_server.c tests/unit/tls_pair.h
check_serve_server_CPPFLAGS = $(HTTP_RIG_CPPFLAGS)
check_serve_server_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_server_LDADD = libserve.a libhttp.a libnative.a libstore.a libwire.a libbase.a \
	$(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_metrics
check_serve_metrics_SOURCES = tests/unit/check_serve_metrics.c
check_serve_metrics_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_metrics_LDADD = libserve.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_away
check_serve_away_SOURCES = tests/unit/check_serve_away.c tests/unit/tls_pair.h $(HTTP_RIG)
check_serve_away_CPPFLAGS = $(HTTP_RIG_CPPFLAGS)
check_serve_away_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_away_LDADD = libserve.a libhttp.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_serve_relay
check_serve_relay_SOURCES = tests/unit/check_serve_relay.c
check_serve_relay_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_serve_relay_LDADD = libserve.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
