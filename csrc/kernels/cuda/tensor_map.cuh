// Describes a matrix in device memory to the tensor memory accelerator. Host code.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace chatglm::kernels::cuda {

// Rows of 16-bit numbers, one after the other, at a multiple of 16 bytes; `cols` is a multiple of
// eight. They are copied in boxes of box_rows rows by 64 numbers, each of which lies in shared
// memory, at a multiple of 1024 bytes, as SwizzledRows does (gemm_weights.cuh).
// false: the driver knows no such maps, or refuses this one.
bool describe_rows(const void* rows, int64_t count, int64_t cols, int box_rows, CUtensorMap& map);

}  // namespace chatglm::kernels::cuda
