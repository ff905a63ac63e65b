// Any CPU: short loops over arrays of 8 floats, which compilers turn into the baseline's vectors.
#include <cmath>

#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

struct Generic {
  static constexpr int64_t kLanes = 8;
  struct F32 {
    float lane[kLanes];
  };

  static F32 set(float value) {
    return map([&](int) { return value; });
  }
  static F32 load(const float* source) {
    F32 a;
    std::memcpy(a.lane, source, sizeof(a.lane));
    return a;
  }
  static void store(float* destination, const F32& a) {
    std::memcpy(destination, a.lane, sizeof(a.lane));
  }
  static F32 add(const F32& a, const F32& b) {
    return map([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static F32 sub(const F32& a, const F32& b) {
    return map([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static F32 mul(const F32& a, const F32& b) {
    return map([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static F32 div(const F32& a, const F32& b) {
    return map([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  // Rounded twice: a fused multiply-add in software costs a hundred times as much.
  static F32 fma(const F32& a, const F32& b, const F32& c) {
    return map([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static F32 min(const F32& a, const F32& b) {
    return map([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static F32 max(const F32& a, const F32& b) {
    return map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  // Adding 1.5 * 2^23 rounds |a| < 2^22 to an integer, ties to even.
  static F32 round(const F32& a) {
    return map([&](int i) { return (a.lane[i] + kRounder) - kRounder; });
  }
  // In two steps: 2^n itself may lie outside the range of a float where x * 2^n is a subnormal.
  static F32 scale_pow2(const F32& x, const F32& n) {
    return map([&](int i) {
      const int32_t exponent = from_float_bits(n.lane[i] + kRounder) - from_float_bits(kRounder);
      const int32_t half = exponent >> 1;
      return x.lane[i] * pow2(half) * pow2(exponent - half);
    });
  }
  static float reduce_add(const F32& a) {
    const float* v = a.lane;
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
  }
  static float reduce_max(const F32& a) {
    float most = a.lane[0];
    for (int i = 1; i < kLanes; ++i) most = most > a.lane[i] ? most : a.lane[i];
    return most;
  }
  static F32 load_f16(const uint16_t* source) {
    return map([&](int i) {
      // Exponent and mantissa moved into place, then the exponent bias corrected by a product,
      // which normalizes subnormals too; infinity and NaN need their exponent filled.
      const int32_t bits = source[i];
      const float magnitude = to_float((bits & 0x7fff) << 13) * 0x1p112F;
      const int32_t special = (bits & 0x7c00) == 0x7c00 ? 0x7f800000 : 0;
      return to_float(from_float_bits(magnitude) | special | ((bits & 0x8000) << 16));
    });
  }
  static F32 load_bf16(const uint16_t* source) {
    return map([&](int i) { return to_float(int32_t{source[i]} << 16); });
  }
  static F32 load_i8(const int8_t* source) {
    return map([&](int i) { return static_cast<float>(source[i]); });
  }

  static constexpr int kFloatRows = 2;
  static constexpr int kFloatPanels = 1;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 1;
  static constexpr int64_t kGroup = 1;
  static constexpr uint8_t kQ8Flip = 0;

  // A product fits 16 bits (128 * 127 < 2^15), two do: 2 * 128 * 127 < 2^15.
  template <int kRows>
  static void dot_q8_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* /*sums*/,
                       F32* dots) {
    int16_t wide[32][kLanes];
    for (int j = 0; j < 32; ++j) {
      for (int i = 0; i < kLanes; ++i) wide[j][i] = static_cast<int8_t>(w[j * kLanes + i]);
    }
    for (int r = 0; r < kRows; ++r) {
      int32_t sum[kLanes] = {};
      for (int j = 0; j < 32; j += 2) {
        const int16_t x0 = x[r * x_stride + j], x1 = x[r * x_stride + j + 1];
        for (int i = 0; i < kLanes; ++i) {
          sum[i] += static_cast<int16_t>(wide[j][i] * x0 + wide[j + 1][i] * x1);
        }
      }
      dots[r] = map([&](int i) { return static_cast<float>(sum[i]); });
    }
  }

  // With 8 taken off, the sum of a whole block fits 16 bits: 32 * 8 * 127 < 2^15.
  template <int kRows>
  static void dot_q4_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* /*sums*/,
                       F32* dots) {
    int16_t wide[32][kLanes];
    for (int j = 0; j < 16; ++j) {
      for (int i = 0; i < kLanes; ++i) {
        const int byte = w[j * kLanes + i];
        wide[j][i] = static_cast<int16_t>((byte & 15) - 8);
        wide[j + 16][i] = static_cast<int16_t>((byte >> 4) - 8);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      int16_t sum[kLanes] = {};
      for (int j = 0; j < 32; ++j) {
        const int16_t input = x[r * x_stride + j];
        for (int i = 0; i < kLanes; ++i) {
          sum[i] = static_cast<int16_t>(sum[i] + wide[j][i] * input);
        }
      }
      dots[r] = map([&](int i) { return static_cast<float>(sum[i]); });
    }
  }

 private:
  static constexpr float kRounder = 12582912.0F;

  template <typename Function>
  static F32 map(const Function& lane) {
    F32 result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = lane(i);
    return result;
  }
  static float to_float(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  static int32_t from_float_bits(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
  }
  static float pow2(int32_t n) { return to_float((n + 127) * (1 << 23)); }
};

}  // namespace

constinit const KernelTable kGenericKernels = make_kernel_table<Generic>("generic", cpu_always);

}  // namespace chatglm::kernels
