// The ways of gemv. Host interface; includes no CUDA header.
#pragma once

#include "kernels/cuda/product.h"

namespace chatglm::kernels::cuda {

void gemv_rowwise(const ProductArgs& args, Stream stream,
                  bool early);  // quantized weights, one or two rows
void gemv_grouped(const ProductArgs& args, Stream stream,
                  bool early);  // quantized weights, 3 to 16 rows
void gemv_plain(const ProductArgs& args, Stream stream, bool early);  // f32, f16 and bf16 weights

}  // namespace chatglm::kernels::cuda
