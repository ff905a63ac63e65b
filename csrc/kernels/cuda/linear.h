// A product with a weight matrix, from plain inputs to outputs, and what follows one that makes
// queries, keys and values: the one interface for products that a CUDA backend calls. Includes no
// CUDA header.
#pragma once

#include <cstdint>

#include "kernels/args.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/prepare_input.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

// What the choice of a kernel depends on.
struct DeviceTraits {
  int compute_capability;  // 80, 86, 89, 90, ...
  int multiprocessors;
  // Products of many rows are by the warpgroup instructions that compute capability 9.0 has, and no
  // other: what they give was seen to be right.
  bool warpgroups = false;
};

struct LinearCall {
  DeviceWeight weight;  // (n, k)
  // The inputs, plain, normed or gated: m and k as those of the product; `prepared` is scratch of
  // prepared_bytes(m, k), 256-byte aligned, of this call until the stream is past it.
  PrepareArgs input;
  const float* bias;  // (n) or nullptr
  float* y;           // (m, n), row stride `y_stride`
  int64_t y_stride;   // elements, n or more
  bool accumulate;    // add to what y holds (the residual)
  // (kGemmScratchBytes), see gemm.h: products of more than kGemvRows rows with a matrix of few rows
  // are spread over more of the GPU. nullptr: they are not, and have the same results.
  std::byte* gemm_scratch = nullptr;
  // Whether the weights do (half_range.h). Those that don't are multiplied with kGemvRows rows at a
  // time, whose kernels take them as they are.
  bool fits_half = true;
};

// Enqueues the preparation of the inputs and the product.
void linear(const LinearCall& call, const DeviceTraits& device, Stream stream);

// linear() of queries, keys and values, then rotate_and_store(): in the kernel of the product where
// rows are few, pairs adjacent and the cache of f32 or f16. heads: of call.y, whose rows are
// queries | keys | values; what those of keys and values hold afterwards is not defined.
void linear_rotate_store(const LinearCall& call, const RotateAndStoreArgs& heads,
                         const DeviceTraits& device, Stream stream);

}  // namespace chatglm::kernels::cuda
