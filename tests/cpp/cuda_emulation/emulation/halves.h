// 16-bit floating point for the emulated types, rounded once from what is exact.
#pragma once

#include <cstdint>

namespace cuda_emulation {

float half_bits_to_float(uint16_t bits);
uint16_t float_to_half_bits(float value);
uint16_t float_to_bfloat16_bits(float value);

// A float that rounds to any shorter type as the double itself does ("round to odd").
float round_to_odd(double value);

}  // namespace cuda_emulation
