// Half and bfloat16 conversions: every bit pattern there and back, and rounding against a slow,
// independent definition (the nearest representable value, ties to the even pattern).
#include "base/float16.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace chatglm {
namespace {

constexpr uint32_t kSeed = 20240607;

// The value of a positive finite half from its fields; 0x7c00 stands for 2^16, where rounding turns
// to infinity.
double half_value(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10);
  const double mantissa = bits & 0x3ff;
  return exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0 + mantissa, exponent - 25);
}

// Nearest of all positive halves by binary search; ties to even.
Half slow_float_to_half(float value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  uint32_t low = 0, high = 0x7c00;  // half_value(low) <= magnitude < half_value(high)
  if (magnitude >= half_value(high)) {
    low = high;
  } else {
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      (half_value(middle) <= magnitude ? low : high) = middle;
    }
    const double below = magnitude - half_value(low);
    const double above = half_value(high) - magnitude;
    if (above < below || (above == below && high % 2 == 0)) low = high;
  }
  return static_cast<Half>(low | (std::signbit(value) ? 0x8000u : 0u));
}

TEST(Float16, EveryHalfThereAndBack) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = half_to_float(static_cast<Half>(bits));
    const bool is_nan = (bits & 0x7fff) > 0x7c00;
    ASSERT_EQ(std::isnan(value), is_nan) << bits;
    if ((bits & 0x7c00) != 0x7c00) {
      ASSERT_EQ(std::fabs(static_cast<double>(value)), half_value(bits & 0x7fff)) << bits;
    }
    const uint32_t expected = is_nan ? bits | 0x200 : bits;  // NaNs come back quiet
    ASSERT_EQ(float_to_half(value), expected);
  }
  EXPECT_EQ(half_to_float(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(half_to_float(0xfc00), -std::numeric_limits<float>::infinity());
}

TEST(Float16, HalfRoundsToNearestEven) {
  SCOPED_TRACE(kSeed);
  std::vector<float> values{0.0f,      -0.0f,        65504.0f,    65519.996f,      65520.0f,
                            1e30f,     0x1p-24f,     0x1p-25f,    0x1.000002p-25f, 0x1p-149f,
                            -0x1p-14f, 0x1.ffcp-15f, 0x1.ffep-15f};
  for (uint32_t bits = 0; bits < 0x7c00; bits += 3) {  // the ties, and both their neighbours
    const float tie = static_cast<float>((half_value(bits) + half_value(bits + 1)) / 2);
    values.insert(values.end(), {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1e9f), -tie});
  }
  std::mt19937 random(kSeed);
  for (int i = 0; i < 20'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isnan(value)) values.push_back(value);
    values.push_back(
        std::ldexp(static_cast<float>(random()), static_cast<int>(random() % 48) - 62));
  }
  for (const float value : values)
    ASSERT_EQ(float_to_half(value), slow_float_to_half(value)) << value;
}

TEST(Float16, EveryBFloat16ThereAndBack) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = bfloat16_to_float(static_cast<BFloat16>(bits));
    ASSERT_EQ(std::bit_cast<uint32_t>(value), bits << 16);
    const bool is_nan = (bits & 0x7fff) > 0x7f80;
    ASSERT_EQ(float_to_bfloat16(value), is_nan ? bits | 0x40 : bits);
  }
}

TEST(Float16, BFloat16RoundsToNearestEven) {
  const auto rounded = [](uint32_t bits) { return float_to_bfloat16(std::bit_cast<float>(bits)); };
  EXPECT_EQ(rounded(0x3f807fff), 0x3f80);  // just below the tie
  EXPECT_EQ(rounded(0x3f808000), 0x3f80);  // tie, down to even
  EXPECT_EQ(rounded(0x3f808001), 0x3f81);
  EXPECT_EQ(rounded(0x3f818000), 0x3f82);  // tie, up to even
  EXPECT_EQ(rounded(0x7f7fffff), 0x7f80);  // the largest float becomes infinite
  EXPECT_EQ(rounded(0x7f800001), 0x7fc0);  // NaN stays NaN
  EXPECT_EQ(rounded(0x00000001), 0x0000);
  EXPECT_EQ(rounded(0x80008001), 0x8001);  // subnormals round alike
}

}  // namespace
}  // namespace chatglm
