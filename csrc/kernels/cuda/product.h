// Products of prepared inputs with weight matrices: gemv for few rows, gemm for many. Which one,
// and in what form the inputs must be, linear.cc decides. Host interface; includes no CUDA header.
#pragma once

#include <cstdint>

#include "kernels/cuda/kv_place.h"
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

// Outputs that are heads: those of the queries, of the keys and of the values of a row. Queries are
// rotated on their way to y, keys on theirs to the cache, where values go as they are; y is not
// written there. Pairs are adjacent elements, head_dim is even, the cache of f32 or f16.
struct HeadOutputs {
  KvPlace cache;  // without pages: all outputs go to y
  int32_t query_heads = 0;
  int32_t rotary_dim = 0;
  const float* cos_sin = nullptr;      // (m, rotary_dim / 2, 2)
  const float* query_scale = nullptr;  // (m) or nullptr: 1
};

// Up to this many rows are computed in one way, bitwise the same for any number of them; more in
// another.
inline constexpr int64_t kGemvRows = 16;

// 1..kGemvRows rows: kInt8 for quantized weights, kF32 for plain ones. heads: not where outputs
// are added to y. early: see launch.cuh.
void gemv(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early = false);

}  // namespace chatglm::kernels::cuda
