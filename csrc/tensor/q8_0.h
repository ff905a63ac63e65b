// Q8_0: 32 values as signed bytes that share one half-precision scale. ggml's layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"

namespace chatglm {

// value[i] = scale * quants[i]
struct BlockQ8_0 {
  static constexpr int64_t kElements = 32;
  Half scale;
  int8_t quants[kElements];
};
static_assert(sizeof(BlockQ8_0) == 34);

// count is a multiple of BlockQ8_0::kElements; the bytes need no alignment.
void decode_q8_0(const std::byte* source, float* values, int64_t count);
void encode_q8_0(const float* values, std::byte* destination, int64_t count);

}  // namespace chatglm
