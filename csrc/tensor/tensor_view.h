// A matrix that somebody else owns: pointer, type, shape. No arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace chatglm {

// Row-major and contiguous; a vector is one row. cols is a multiple of the type's block_elements.
struct TensorView {
  DType dtype = DType::kF32;
  int rank = 2;  // 1 or 2: as stored
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* data = nullptr;

  int64_t row_bytes() const { return dtype_info(dtype).row_bytes(cols); }
  int64_t size_bytes() const { return rows * row_bytes(); }
  int64_t size() const { return rows * cols; }
  const std::byte* row(int64_t index) const { return data + index * row_bytes(); }
  std::span<const std::byte> bytes() const {
    return {data, static_cast<std::size_t>(size_bytes())};
  }
};

}  // namespace chatglm
