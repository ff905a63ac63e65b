// Q8_0: 32 values as signed bytes that share one half-precision scale. ggml's layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"
#include "tensor/quant_form.h"

namespace chatglm {

// value[i] = scale * quants[i]
struct BlockQ8_0 {
  static constexpr int64_t kElements = 32;
  Half scale;
  int8_t quants[kElements];
};
static_assert(sizeof(BlockQ8_0) == 34);

void open_q8_0(const std::byte* block, OpenBlock& opened);
inline constexpr QuantForm kQ8_0Form{.block = 32, .part = 32, .bits = 8, .direct = true};

// count is a multiple of BlockQ8_0::kElements; the bytes need no alignment.
void encode_q8_0(const float* values, std::byte* destination, int64_t count);

}  // namespace chatglm
