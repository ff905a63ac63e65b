// IEEE half precision and bfloat16 as 16-bit storage types, converted in software with round to
// nearest even. Kernels have faster ways; these are the plain ones everybody else uses.
#pragma once

#include <bit>
#include <cstdint>

namespace chatglm {

using Half = uint16_t;      // bits of an IEEE 754 binary16
using BFloat16 = uint16_t;  // upper 16 bits of a binary32

float half_to_float(Half bits);
Half float_to_half(float value);

inline float bfloat16_to_float(BFloat16 bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
BFloat16 float_to_bfloat16(float value);

}  // namespace chatglm
