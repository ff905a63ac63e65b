// IQ4_NL: 32 values as 4-bit places in a table of unevenly spaced numbers, with one half-precision
// scale. ggml's layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"
#include "tensor/quant_form.h"

namespace chatglm {

// value[i] = scale * kCodeTable[nibble[i]]; nibbles as in Q4_0.
struct BlockIQ4_NL {
  static constexpr int64_t kElements = 32;
  Half scale;
  uint8_t quants[kElements / 2];
};
static_assert(sizeof(BlockIQ4_NL) == 18);

void open_iq4_nl(const std::byte* block, OpenBlock& opened);
inline constexpr QuantForm kIQ4_NLForm{
    .block = 32, .part = 32, .bits = 4, .table = true, .direct = true};

}  // namespace chatglm
