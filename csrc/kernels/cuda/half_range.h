// Which matrices can be opened to f16, as products of many rows open them. Host code; knows no
// CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

// Whether rows [first_row, first_row + count) of `packed`, which lies as `layout` says, have no
// weight, and nothing on the way to one, that f16 could not hold. Blocks may say more than any
// trained matrix has: an f16 scale of q6_k is multiplied by up to 127 and by a code.
bool fits_half(const WeightLayout& layout, int64_t first_row, int64_t count,
               const std::byte* packed);

}  // namespace chatglm::kernels::cuda
