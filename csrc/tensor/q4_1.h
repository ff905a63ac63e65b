// Q4_1: 32 values as 4-bit numbers that share a half-precision scale and minimum. ggml's layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"
#include "tensor/quant_form.h"

namespace chatglm {

// value[i] = scale * nibble[i] + minimum; nibbles as in Q4_0.
struct BlockQ4_1 {
  static constexpr int64_t kElements = 32;
  Half scale;
  Half minimum;
  uint8_t quants[kElements / 2];
};
static_assert(sizeof(BlockQ4_1) == 20);

void open_q4_1(const std::byte* block, OpenBlock& opened);
inline constexpr QuantForm kQ4_1Form{
    .block = 32, .part = 32, .bits = 4, .minimum = true, .direct = true};

// count is a multiple of BlockQ4_1::kElements; the bytes need no alignment.
void encode_q4_1(const float* values, std::byte* destination, int64_t count);
// The least squared error found, weighted by weights (count) or, where nullptr, unweighted.
void search_q4_1(const float* values, const float* weights, std::byte* destination, int64_t count);

}  // namespace chatglm
