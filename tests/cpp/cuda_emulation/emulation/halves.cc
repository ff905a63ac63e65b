#include "emulation/halves.h"

#include <bit>
#include <cmath>
#include <vector>

#include "base/float16.h"
#include "emulation/math_words.h"

namespace cuda_emulation {

float half_bits_to_float(uint16_t bits) {
  static const std::vector<float> table = [] {
    std::vector<float> values(1 << 16);
    for (uint32_t i = 0; i < values.size(); ++i) {
      values[i] = chatglm::half_to_float(static_cast<uint16_t>(i));
    }
    return values;
  }();
  return table[bits];
}

uint16_t float_to_half_bits(float value) {
  return chatglm::float_to_half(value);
}
uint16_t float_to_bfloat16_bits(float value) {
  return chatglm::float_to_bfloat16(value);
}

float round_to_odd(double value) {
  float rounded = static_cast<float>(value);
  if (rounded == value || std::isnan(value) || std::isinf(rounded)) return rounded;
  if (std::fabs(double{rounded}) > std::fabs(value)) rounded = std::nextafter(rounded, 0.0f);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(rounded) | 1);
}

int clamp_to_int(double value) {
  if (std::isnan(value)) return 0;
  return static_cast<int>(std::fmin(std::fmax(value, INT32_MIN), INT32_MAX));
}
unsigned clamp_to_uint(double value) {
  if (std::isnan(value)) return 0;
  return static_cast<unsigned>(std::fmin(std::fmax(value, 0.0), UINT32_MAX));
}

}  // namespace cuda_emulation
