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
      // which normalizes subnormals too. Infinity and NaN (the carry of an exponent of all ones)
      // get their exponent filled. No branch: compilers vectorize it.
      const int32_t bits = source[i];
      const float magnitude = to_float((bits & 0x7fff) << 13) * 0x1p112F;
      const int32_t special = -(((bits & 0x7c00) + 0x0400) >> 15) & 0x7f800000;
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
  static constexpr uint32_t kQ8Flip = 0;
  static constexpr float kQ8Offset = 8;
  static constexpr float kQ4Offset = 0;

  static void store_i8(int8_t* destination, const F32& a) {
    for (int i = 0; i < kLanes; ++i) {
      destination[i] = static_cast<int8_t>(from_float_bits(a.lane[i] + kRounder));
    }
  }

  // A byte is 16 * its upper nibble + its lower one, each summed in 16 bits of its own. With 8
  // taken off the lower nibble (kQ8Offset), a block's sum fits: 32 * 8 * 127 < 2^15.
  template <int kRows>
  static void dot_q8_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                       F32* dots) {
    I16 upper[32], lower[32];
    for (int j = 0; j < 32; ++j) {
      for (int i = 0; i < kLanes; ++i) {
        const int byte = static_cast<int8_t>(w[j * kLanes + i]);
        upper[j][i] = static_cast<int16_t>(byte >> 4);
        lower[j][i] = static_cast<int16_t>((byte & 15) - 8);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      const I16 upper_sum = block_sum(upper, x + r * x_stride);
      const I16 lower_sum = block_sum(lower, x + r * x_stride);
      dots[r] = map(
          [&](int i) { return static_cast<float>(16 * upper_sum[i] + lower_sum[i] + excess[r]); });
    }
  }

  // With 8 taken off, a block's sum fits 16 bits.
  template <int kRows>
  static void dot_q4_0(const uint8_t* w, const int8_t* x, int64_t x_stride,
                       const int32_t* /*excess*/, F32* dots) {
    I16 nibbles[32];
    for (int j = 0; j < 16; ++j) {
      for (int i = 0; i < kLanes; ++i) {
        const int byte = w[j * kLanes + i];
        nibbles[j][i] = static_cast<int16_t>((byte & 15) - 8);
        nibbles[j + 16][i] = static_cast<int16_t>((byte >> 4) - 8);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      const I16 sum = block_sum(nibbles, x + r * x_stride);
      dots[r] = map([&](int i) { return static_cast<float>(sum[i]); });
    }
  }

 private:
  static constexpr float kRounder = 12582912.0F;

  // 8 integers of 16 bits. Loops over an array of them are not vectorized by GCC 12, so where the
  // compiler has vectors of its own they are used.
#if defined(__GNUC__)
  using I16 = int16_t __attribute__((vector_size(2 * kLanes)));
#else
  struct I16 {
    int16_t lane[kLanes];
    int16_t& operator[](int i) { return lane[i]; }
    int16_t operator[](int i) const { return lane[i]; }
    friend I16 operator*(I16 a, int16_t b) {
      for (int16_t& value : a.lane) value = static_cast<int16_t>(value * b);
      return a;
    }
    friend I16 operator+(I16 a, const I16& b) {
      for (int i = 0; i < kLanes; ++i) a.lane[i] = static_cast<int16_t>(a.lane[i] + b.lane[i]);
      return a;
    }
  };
#endif

  static I16 block_sum(const I16* weights, const int8_t* x) {
    I16 sum = {};
    for (int j = 0; j < 32; ++j) sum = sum + weights[j] * static_cast<int16_t>(x[j]);
    return sum;
  }

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
