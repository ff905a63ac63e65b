// The ways of gemv. Host interface; includes no CUDA header.
#pragma once

#include "kernels/cuda/product.h"

namespace chatglm::kernels::cuda {

// Quantized weights, one or two rows.
void gemv_rowwise(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early);
// Quantized weights, 3 to 16 rows.
void gemv_grouped(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early);
// f32, f16 and bf16 weights.
void gemv_plain(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early);

}  // namespace chatglm::kernels::cuda
