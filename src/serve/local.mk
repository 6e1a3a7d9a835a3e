# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libserve.a
libserve_a_SOURCES = %D%/spec.h %D%/replica.h
# What a recipe says, and pure decisions.
libserve_a_SOURCES += %D%/route.h %D%/queue.h %D%/batch.h %D%/autoscale.h %D%/balance.h \
	%D%/graph.h %D%/spec.c %D%/spec_fill.c %D%/spec_graph.c %D%/spec_impl.h %D%/route.c \
	%D%/queue.c %D%/batch.c %D%/balance.c %D%/autoscale.c %D%/graph.c %D%/graph_data.c \
	%D%/graph_impl.h %D%/op_serve.c %D%/op_serve.h %D%/op_said.h %D%/op_check.c \
	%D%/op_check_graph.c %D%/op_check_route.c %D%/op_content.c %D%/op_deploy.c

# The server.
libserve_a_SOURCES += %D%/pool.h %D%/metrics.c %D%/metrics.h %D%/deployment.c %D%/deployment.h \
	%D%/deployment_inside.h %D%/deployment_jobs.c %D%/deployment_replicas.c
libserve_a_SOURCES += %D%/app.c %D%/app.h %D%/app_inside.h %D%/app_request.c %D%/passed.c %D%/passed.h %D%/update.c
libserve_a_SOURCES += %D%/replica_actor.c %D%/replica_actor.h %D%/replica_native.c \
	%D%/replica_http.c %D%/replica_http.h %D%/replica_program.c
libserve_a_SOURCES += %D%/server.c %D%/server.h %D%/server_inside.h %D%/server_front.c \
	%D%/server_apps.c %D%/server_state.c %D%/control.c %D%/control.h %D%/replica_url.c \
	%D%/away.c %D%/away.h

# Built-in classes of workers.
libserve_a_SOURCES += %D%/class_model.c %D%/class_model.h %D%/class_model_reply.c \
	%D%/class_model_rows.c %D%/class_program.c %D%/class_program.h \
	%D%/relay.c %D%/relay.h %D%/brought.c %D%/brought.h %D%/class_program_child.c %D%/class_program_probe.c %D%/class_builtin.c %D%/class_builtin.h \
	%D%/error_body.c %D%/error_body.h
libserve_a_CFLAGS = $(AM_CFLAGS) $(CURL_CFLAGS)
