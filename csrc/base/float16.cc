// Software conversion of 16-bit floating-point types.
#include "base/float16.h"

namespace chatglm {

float half_to_float(Half bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in a float
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if (exponent == 0x1f) {  // infinity or NaN
    return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  }
  return std::bit_cast<float>(sign | ((exponent + 127 - 15) << 23) | (mantissa << 13));
}

Half float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const Half sign = static_cast<Half>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {  // NaN: keep the top of the payload, make it quiet
    return static_cast<Half>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    return static_cast<Half>(sign | 0x7c00u);
  }
  uint32_t kept;                   // the result without its sign, rounded down
  uint32_t remainder;              // what was cut off, left-aligned in 32 bits
  if (magnitude >= 0x38800000u) {  // 2^-14: a normal half
    kept = (magnitude - ((127 - 15) << 23)) >> 13;
    remainder = magnitude << 19;
  } else if (magnitude >= 0x33000000u) {             // 2^-25: half of the smallest subnormal
    const uint32_t shift = 126 - (magnitude >> 23);  // 14 to 24
    const uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    kept = significand >> shift;
    remainder = significand << (32 - shift);
  } else {
    return sign;
  }
  // Ties go to even. A carry out of the mantissa runs into the exponent, which is what is wanted.
  if (remainder > 0x80000000u || (remainder == 0x80000000u && (kept & 1u) != 0)) ++kept;
  return static_cast<Half>(sign | kept);
}

BFloat16 float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {  // NaN: quiet, so that rounding can't make it infinite
    return static_cast<BFloat16>((bits >> 16) | 0x40u);
  }
  return static_cast<BFloat16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace chatglm
