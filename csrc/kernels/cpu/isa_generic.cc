// Any CPU: 8 floats in whatever vectors the baseline has, no instruction of a newer one.
#include <cmath>

#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

// 16 bytes of numbers. Where the compiler has vectors of its own they are used: GCC 12 does not
// vectorize loops over arrays of structs of numbers.
#if defined(__GNUC__)
using Quad = float __attribute__((vector_size(16)));
using Octet = int16_t __attribute__((vector_size(16)));
#else
template <typename T, int kCount>
struct Numbers {
  T lane[kCount];
  T& operator[](int i) { return lane[i]; }
  T operator[](int i) const { return lane[i]; }
  friend Numbers operator+(Numbers a, const Numbers& b) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] + b.lane[i]);
    return a;
  }
  friend Numbers operator-(Numbers a, const Numbers& b) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] - b.lane[i]);
    return a;
  }
  friend Numbers operator*(Numbers a, const Numbers& b) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] * b.lane[i]);
    return a;
  }
  friend Numbers operator/(Numbers a, const Numbers& b) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] / b.lane[i]);
    return a;
  }
  friend Numbers operator&(Numbers a, const Numbers& b) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] & b.lane[i]);
    return a;
  }
  friend Numbers operator|(Numbers a, const Numbers& b) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] | b.lane[i]);
    return a;
  }
  friend Numbers operator<<(Numbers a, int bits) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] << bits);
    return a;
  }
  friend Numbers operator>>(Numbers a, int bits) {
    for (int i = 0; i < kCount; ++i) a.lane[i] = static_cast<T>(a.lane[i] >> bits);
    return a;
  }
};
using Quad = Numbers<float, 4>;
using Octet = Numbers<int16_t, 8>;
#endif

struct Generic {
  static constexpr int64_t kLanes = 8;
  struct F32 {
    Quad low, high;
  };

  static F32 set(float value) {
    const Quad quad{value, value, value, value};
    return {quad, quad};
  }
  static F32 load(const float* source) {
    F32 a;
    std::memcpy(&a.low, source, sizeof(a.low));
    std::memcpy(&a.high, source + 4, sizeof(a.high));
    return a;
  }
  static void store(float* destination, F32 a) {
    std::memcpy(destination, &a.low, sizeof(a.low));
    std::memcpy(destination + 4, &a.high, sizeof(a.high));
  }
  static F32 add(F32 a, F32 b) { return {a.low + b.low, a.high + b.high}; }
  static F32 sub(F32 a, F32 b) { return {a.low - b.low, a.high - b.high}; }
  static F32 mul(F32 a, F32 b) { return {a.low * b.low, a.high * b.high}; }
  static F32 div(F32 a, F32 b) { return {a.low / b.low, a.high / b.high}; }
  // Rounded twice: a fused multiply-add in software costs a hundred times as much.
  static F32 fma(F32 a, F32 b, F32 c) { return add(mul(a, b), c); }
  static F32 min(F32 a, F32 b) {
    return map(a, b, [](float x, float y) { return x < y ? x : y; });
  }
  static F32 max(F32 a, F32 b) {
    return map(a, b, [](float x, float y) { return x > y ? x : y; });
  }
  // Adding 1.5 * 2^23 rounds |a| < 2^22 to an integer, ties to even.
  static F32 round(F32 a) { return sub(add(a, set(kRounder)), set(kRounder)); }
  // In two steps: 2^n itself may lie outside the range of a float where x * 2^n is a subnormal.
  static F32 scale_pow2(F32 x, F32 n) {
    return map(x, n, [](float value, float power) {
      const int32_t exponent = float_bits(power + kRounder) - float_bits(kRounder);
      const int32_t half = exponent >> 1;
      return value * pow2(half) * pow2(exponent - half);
    });
  }
  static float reduce_add(F32 a) {
    const Quad sum = a.low + a.high;
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }
  static float reduce_max(F32 a) {
    float lanes[kLanes];
    store(lanes, a);
    float most = lanes[0];
    for (const float lane : lanes) most = most > lane ? most : lane;
    return most;
  }
  static F32 load_f16(const uint16_t* source) {
    return decode(source, [](int32_t bits) { return f16_to_float(bits); });
  }
  static F32 load_bf16(const uint16_t* source) {
    return decode(source, [](int32_t bits) { return from_bits(bits << 16); });
  }
  static F32 load_i8(const int8_t* source) {
    return decode(source, [](int8_t value) { return static_cast<float>(value); });
  }

  static F32 set_f16(const std::byte* source) {
    uint16_t half;
    std::memcpy(&half, source, sizeof(half));
    return set(f16_to_float(half));
  }
  static F32 if_less(F32 x, F32 y, F32 a, F32 b) {
    float left[kLanes], right[kLanes], chosen[kLanes], other[kLanes];
    store(left, x);
    store(right, y);
    store(chosen, a);
    store(other, b);
    for (int i = 0; i < kLanes; ++i) chosen[i] = left[i] < right[i] ? chosen[i] : other[i];
    return load(chosen);
  }
  static constexpr float kLeastPower = -127;
  static F32 times_pow2(F32 x, F32 n) {
    return map(x, n, [](float value, float power) {
      return value * pow2(float_bits(power + kRounder) - float_bits(kRounder));
    });
  }
  static void transpose4(const float* const* from, float* const* to) {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) to[i][j] = from[j][i];
    }
  }

  static constexpr int kAttentionVectors = 1;
  static constexpr int kAttentionSteps = 4;
  static constexpr int kAttentionNarrowSteps = 4;

  static constexpr int kFloatRows = 2;
  static constexpr int kFloatPanels = 1;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 1;
  static constexpr int kPeakChains = 6;
  static constexpr int64_t kGroup = 1;
  static void store_i8(int8_t* destination, F32 a) {
    float lanes[kLanes];
    store(lanes, a);
    for (int i = 0; i < kLanes; ++i) {
      destination[i] = static_cast<int8_t>(float_bits(lanes[i] + kRounder));
    }
  }

  using Bytes = Octet;
  struct Ints {
    int32_t lane[kLanes];
  };
  static constexpr int kByteFlip = 0;
  static constexpr int kByteOffset = -8;  // ByteDot takes them off the lower nibble
  static Bytes load_bytes(const uint8_t* source) {
    Octet bytes;
    for (int i = 0; i < kLanes; ++i) bytes[i] = source[i];
    return bytes;
  }
  static void store_bytes(uint8_t* destination, Bytes a) {
    for (int i = 0; i < kLanes; ++i) destination[i] = static_cast<uint8_t>(a[i]);
  }
  static Bytes field(Bytes a, int from, int to, int bits) {
    const auto mask = static_cast<int16_t>((1 << bits) - 1);
    return ((a >> from) & all(mask)) << to;
  }
  static Bytes merge(Bytes a, Bytes b) { return a | b; }
  static Bytes lookup(Bytes a) {
    for (int i = 0; i < kLanes; ++i) a[i] = kLookupTable<Generic>.values[a[i]];
    return a;
  }
  static Ints ints(int32_t value) {
    return {{value, value, value, value, value, value, value, value}};
  }
  static F32 to_f32(Ints a) {
    float values[kLanes];
    for (int i = 0; i < kLanes; ++i) values[i] = static_cast<float>(a.lane[i]);
    return load(values);
  }

  // Products are summed in 16 bits: so many of them fit.
  template <int kLargest>
  struct CodeDot {
    using Partial = Octet;
    static constexpr int kVectors = std::bit_floor((1U << 15) / (kLargest * kLargestInput));
    static Partial begin(Ints) { return Octet{}; }
    static Partial add(Partial partial, Bytes codes, const int8_t* x) {
      return partial + codes * all(*x);
    }
    static Ints end(Ints sums, Partial partial) {
      for (int i = 0; i < kLanes; ++i) sums.lane[i] += partial[i];
      return sums;
    }
  };

  // A byte is 16 * its upper nibble + its lower one less 8, each summed in 16 bits of its own: 32
  // products of a magnitude up to 8 * 127 fit.
  struct ByteDot {
    struct Partial {
      Octet upper, lower;
    };
    static constexpr int kVectors = 32;
    static Partial begin(Ints) { return {Octet{}, Octet{}}; }
    static Partial add(Partial partial, Bytes bytes, const int8_t* x) {
      const Octet upper = (bytes << 8) >> 12;
      const Octet lower = (bytes & all(15)) - all(8);
      return {partial.upper + upper * all(*x), partial.lower + lower * all(*x)};
    }
    static Ints end(Ints sums, Partial partial) {
      for (int i = 0; i < kLanes; ++i) sums.lane[i] += 16 * partial.upper[i] + partial.lower[i];
      return sums;
    }
  };

 private:
  static constexpr float kRounder = 12582912.0F;

  template <typename Function>
  static F32 map(F32 a, F32 b, Function function) {
    float x[kLanes], y[kLanes];
    store(x, a);
    store(y, b);
    for (int i = 0; i < kLanes; ++i) x[i] = function(x[i], y[i]);
    return load(x);
  }
  template <typename T, typename Function>
  static F32 decode(const T* source, Function function) {
    float values[kLanes];
    for (int i = 0; i < kLanes; ++i) values[i] = function(source[i]);
    return load(values);
  }
  // Exponent and mantissa moved into place, then the exponent bias corrected by a product, which
  // normalizes subnormals too. Infinity and NaN (the carry of an exponent of all ones) get their
  // exponent filled. No branch: compilers vectorize it.
  static float f16_to_float(int32_t bits) {
    const float magnitude = from_bits((bits & 0x7fff) << 13) * 0x1p112F;
    const int32_t special = -(((bits & 0x7c00) + 0x0400) >> 15) & 0x7f800000;
    return from_bits(float_bits(magnitude) | special | ((bits & 0x8000) << 16));
  }
  static Octet all(int16_t value) {
    return Octet{value, value, value, value, value, value, value, value};
  }

  static float from_bits(int32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  static int32_t float_bits(float value) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
  }
  static float pow2(int32_t n) {
    return from_bits(static_cast<int32_t>(static_cast<uint32_t>(n + 127) << 23));
  }
};

}  // namespace

constinit const KernelTable kGenericKernels = make_kernel_table<Generic>("generic", cpu_always);

}  // namespace chatglm::kernels
