// Products of prepared inputs with weight matrices: gemv for few rows, gemm for many. Which one,
// and in what form the inputs must be, linear.cc decides. Host interface; includes no CUDA header.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

// y = x W^T (+ bias) (+ y)
struct ProductArgs {
  DeviceWeight weight;  // (n, k)
  const void* x;        // (m) prepared rows, see prepare_input.h; 16-byte aligned
  int64_t m;
  const float* bias;  // (n) or nullptr
  float* y;           // (m, n), row stride `y_stride`
  int64_t y_stride;   // elements
  bool accumulate;    // add to what y holds (the residual)
};

// Up to this many rows are computed in one way, bitwise the same for any number of them; more in
// another.
inline constexpr int64_t kGemvRows = 16;

// 1..kGemvRows rows: kInt8 for quantized weights, kF32 for plain ones. early: see launch.cuh.
void gemv(const ProductArgs& args, Stream stream, bool early = false);

}  // namespace chatglm::kernels::cuda
