# SPDX-License-Identifier: Apache-2.0
# raywf-cuda.so, opened at run time. It needs the driver alone; cuBLASLt and NCCL are opened by
# it. Machine code for A100 and H100, PTX for later ones. Objects are no FILE.o: make would link
# them into FILE.cu when it looks for that source.
cuda_host = comm context decoder graph matmul memory attention paged q4 table \
	tensor_map
cuda_hopper = decoder hopper_backward hopper_forward hopper_paged hopper_q4
cuda_device = attention_backward attention_forward copy elementwise loss norm paged_decode \
	paged_plain paged_prefill paged_rope plain_attention plain_matmul q4_pack q4_small reduce \
	rope rows sample sample_finish skinny update
cuda_headers = kernels/q4_check.h kernels/cuda/cuda.h kernels/cuda/cublaslt.h kernels/cuda/nccl.h \
	kernels/cuda/device.cuh kernels/cuda/flash.cuh kernels/cuda/mma.cuh \
	kernels/cuda/decoder.h kernels/cuda/decoder_attention.cuh kernels/cuda/decoder_cache.cuh \
	kernels/cuda/decoder_items.cuh kernels/cuda/decoder_product.cuh \
	kernels/cuda/decoder_q4.cuh \
	kernels/cuda/decoder_stream.cuh kernels/cuda/decoder_words.cuh \
	kernels/cuda/hopper.cuh kernels/cuda/hopper_softmax.cuh kernels/cuda/own.h kernels/cuda/paged.cuh kernels/cuda/q4.cuh kernels/cuda/sample.cuh \
	kernels/cuda/tensor_map.h
EXTRA_DIST += $(cuda_headers) %D%/comm.c %D%/context.c %D%/decoder.c %D%/graph.c %D%/matmul.c %D%/memory.c \
	%D%/attention.c %D%/paged.c %D%/q4.c %D%/table.c %D%/tensor_map.c %D%/attention_backward.cu \
	%D%/attention_forward.cu %D%/copy.cu %D%/elementwise.cu %D%/loss.cu %D%/norm.cu %D%/paged_decode.cu \
	%D%/paged_plain.cu %D%/paged_prefill.cu %D%/paged_rope.cu %D%/plain_attention.cu \
	%D%/plain_matmul.cu %D%/q4_pack.cu %D%/q4_small.cu %D%/reduce.cu %D%/rope.cu %D%/rows.cu \
	%D%/sample.cu %D%/sample_finish.cu %D%/skinny.cu %D%/update.cu %D%/decoder.cu %D%/hopper_backward.cu %D%/hopper_forward.cu \
	%D%/hopper_paged.cu \
	%D%/hopper_q4.cu
if HAVE_CUDA
CUDA_HOPPER = -gencode arch=compute_90a,code=sm_90a
CUDA_ARCH = -gencode arch=compute_80,code=[sm_80,compute_80] $(CUDA_HOPPER)
NVCCFLAGS = -O3
cuda_compile = $(NVCC) -std=c++17 $(NVCCFLAGS) -Xcompiler \
	-fPIC,-fvisibility=hidden,-Wall,-Wextra -I$(top_srcdir)
cuda_objects = $(cuda_host:%=kernels/cuda/%.c.obj) $(cuda_device:%=kernels/cuda/%.cu.obj) \
	$(cuda_hopper:%=kernels/cuda/%.cu.obj)
cudalibdir = $(pkglibdir)
cudalib_DATA = raywf-cuda.so
CLEANFILES += raywf-cuda.so $(cuda_objects)

# These use what no other architecture has, and are launched on 9.0 alone.
$(cuda_hopper:%=kernels/cuda/%.cu.obj): CUDA_ARCH = $(CUDA_HOPPER)
kernels/cuda/%.cu.obj: $(top_srcdir)/kernels/cuda/%.cu $(cuda_headers) kernels/kernels.h
	$(AM_V_CC)$(MKDIR_P) kernels/cuda && $(cuda_compile) $(CUDA_ARCH) -c -o $@ $<
kernels/cuda/%.c.obj: $(top_srcdir)/kernels/cuda/%.c $(cuda_headers) kernels/kernels.h
	$(AM_V_CC)$(MKDIR_P) kernels/cuda && $(CC) -std=gnu11 -fPIC -fvisibility=hidden \
		$(WARN_CFLAGS) $(HARDEN_CFLAGS) $(CFLAGS) -I$(top_srcdir) \
		-isystem $(cuda_dir)/include -c -o $@ $<
raywf-cuda.so: $(cuda_objects)
	$(AM_V_CCLD)$(NVCC) -shared -cudart static -Xlinker -z,relro,-z,now,--as-needed,--exclude-libs,ALL \
		-Xcompiler -static-libgcc,-static-libstdc++ -o $@ $(cuda_objects)
endif
