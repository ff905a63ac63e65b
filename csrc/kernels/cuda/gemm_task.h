// What a launch of the tile kernel is told, and who launches it for which weights. Includes no CUDA
// header.
#pragma once

#include <cstdint>

#include "kernels/cuda/gemm.h"

namespace chatglm::kernels::cuda {

struct GemmTask {
  ProductArgs product;
  const float* row_scales;  // (m) or nullptr: 1
  GemmPlan plan;
  // Of parallel plans:
  unsigned* counters = nullptr;  // (tiles), zero between products
  float* partials = nullptr;     // (tiles, segments, fragments of a tile's threads, threads, 4)
};

void gemm_nibbles(const GemmTask& task, Stream stream);
void gemm_bytes(const GemmTask& task, Stream stream);
void gemm_halves(const GemmTask& task, Stream stream);         // f16 and bf16
void gemm_by_warpgroups(const GemmTask& task, Stream stream);  // all but f32
void gemm_f32(const ProductArgs& args, Stream stream);

}  // namespace chatglm::kernels::cuda
