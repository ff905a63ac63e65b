// Loops that do nothing but what a GPU is good at, for the benchmark's ceilings. Host interface;
// includes no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

// Copies `size_bytes`, a multiple of 16, between aligned device memory.
void copy_through_registers(const std::byte* from, std::byte* to, int64_t size_bytes,
                            int multiprocessors, Stream stream);

// Every warp of a full device runs `rounds` rounds of independent bf16 matrix products in
// registers. sink (1): never written. Returns the number of operations; a multiply-add is two.
int64_t bf16_products(int multiprocessors, int64_t rounds, float* sink, Stream stream);

}  // namespace chatglm::kernels::cuda
