# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libllm.a
libllm_a_SOURCES = %D%/hf_config.h %D%/model.h %D%/engine.h
# The model.
libllm_a_SOURCES += %D%/config.c %D%/memory.c %D%/memory.h \
	%D%/model_inside.h %D%/weights.h %D%/weights.c %D%/weights_fill.c %D%/weights_load.c \
	%D%/model.c %D%/model_step.c %D%/model_rope.c %D%/model_logprobs.c %D%/forward.c \
	%D%/random.c %D%/random.h %D%/random_tokens.c %D%/random_tokens.h \
	%D%/quantize.c %D%/quantize.h %D%/quantize_group.c %D%/quantize_scale.c %D%/quantize_scale.h \
	%D%/op_models.c %D%/op_models.h %D%/op_models_fetch.c

# The engine.
libllm_a_SOURCES += %D%/blocks.c %D%/blocks.h %D%/penalties.c %D%/penalties.h \
	%D%/sequence.c %D%/sequence.h %D%/schedule.c %D%/schedule.h %D%/schedule_queue.c \
	%D%/schedule_queue.h %D%/engine.c %D%/engine_inside.h %D%/engine_request.c \
	%D%/engine_step.c

# Text: chat, tools, grammar; the API.
libllm_a_SOURCES += %D%/chat.c %D%/chat.h %D%/json_text.c %D%/json_text.h %D%/reply.c \
	%D%/reply.h %D%/text_stream.c %D%/text_stream.h %D%/grammar.c %D%/grammar.h \
	%D%/grammar_impl.h %D%/grammar_mask.c %D%/grammar_json.c %D%/grammar_json.h %D%/grammar_schema.c %D%/utf8.c %D%/utf8.h
libllm_a_SOURCES += %D%/api.c %D%/api.h %D%/api_chat.c %D%/api_complete.c %D%/api_embed.c \
	%D%/api_impl.h %D%/api_job.c %D%/api_metrics.c %D%/api_names.c %D%/api_names.h %D%/api_params.c %D%/api_params.h \
	%D%/api_plain.c %D%/api_write.c %D%/server.c %D%/server.h
libllm_a_SOURCES += %D%/bench.c %D%/bench.h %D%/bench_prompts.c %D%/bench_report.c %D%/fit.c %D%/fit.h
