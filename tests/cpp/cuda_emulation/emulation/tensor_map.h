// What an emulated tensor map says.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace cuda_emulation {

struct TensorMap {
  uint64_t mark;  // kTensorMapMark, else it is none
  const std::byte* begin;
  int64_t rows, row_bytes;  // that there are
  int64_t stride_bytes;     // from one row to the next
  int box_rows, box_row_bytes, element_bytes;
  bool swizzled;
};
inline constexpr uint64_t kTensorMapMark = 0x70616d726f736e74;

static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

}  // namespace cuda_emulation
