// Q4_0: 32 values as 4-bit numbers that share one half-precision scale. ggml's layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"
#include "tensor/quant_form.h"

namespace chatglm {

// value[i] = scale * (nibble[i] - 8); the low nibble of quants[j] is value j, the high one j + 16.
struct BlockQ4_0 {
  static constexpr int64_t kElements = 32;
  Half scale;
  uint8_t quants[kElements / 2];
};
static_assert(sizeof(BlockQ4_0) == 18);

void open_q4_0(const std::byte* block, OpenBlock& opened);
inline constexpr QuantForm kQ4_0Form{
    .block = 32, .part = 32, .bits = 4, .offset = 8, .direct = true};

// count is a multiple of BlockQ4_0::kElements; the bytes need no alignment.
void encode_q4_0(const float* values, std::byte* destination, int64_t count);

}  // namespace chatglm
