// Arithmetic words of device code: conversions with a named rounding, fused multiply-adds, bits,
// packed bytes, loads and stores with cache hints. What the GPU approximates is exact here.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

// As CUDA has them, in the global namespace.
#define CUDA_EMULATION_MIN_MAX(T) \
  constexpr T min(T a, T b) {     \
    return b < a ? b : a;         \
  }                               \
  constexpr T max(T a, T b) {     \
    return a < b ? b : a;         \
  }
CUDA_EMULATION_MIN_MAX(int)
CUDA_EMULATION_MIN_MAX(unsigned)
CUDA_EMULATION_MIN_MAX(long)
CUDA_EMULATION_MIN_MAX(unsigned long)
CUDA_EMULATION_MIN_MAX(long long)
CUDA_EMULATION_MIN_MAX(unsigned long long)
#undef CUDA_EMULATION_MIN_MAX
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
inline double min(double a, double b) {
  return std::fmin(a, b);
}
inline double max(double a, double b) {
  return std::fmax(a, b);
}

inline float rsqrtf(float x) {
  return static_cast<float>(1 / std::sqrt(double{x}));
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __exp2f(float x) {
  return std::exp2(x);
}
inline float __logf(float x) {
  return std::log(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __frcp_rn(float x) {
  return 1 / x;
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline double __dadd_rn(double a, double b) {
  return a + b;
}
inline double __dmul_rn(double a, double b) {
  return a * b;
}
inline double __fma_rn(double a, double b, double c) {
  return std::fma(a, b, c);
}

inline float __saturatef(float x) {
  return x > 0 ? std::fmin(x, 1.0f) : 0.0f;
}  // NaN gives 0

// To integers: what does not fit is clamped, NaN gives 0.
namespace cuda_emulation {
int clamp_to_int(double value);
unsigned clamp_to_uint(double value);
}  // namespace cuda_emulation
inline int __float2int_rn(float x) {
  return cuda_emulation::clamp_to_int(std::nearbyint(x));
}
inline int __float2int_rz(float x) {
  return cuda_emulation::clamp_to_int(std::trunc(x));
}
inline int __float2int_rd(float x) {
  return cuda_emulation::clamp_to_int(std::floor(x));
}
inline int __float2int_ru(float x) {
  return cuda_emulation::clamp_to_int(std::ceil(x));
}
inline unsigned __float2uint_rn(float x) {
  return cuda_emulation::clamp_to_uint(std::nearbyint(x));
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __double2float_rn(double x) {
  return static_cast<float>(x);
}

inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}

// The upper half of the product.
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  const unsigned long long low = 0xffffffff;
  const unsigned long long middle = (a >> 32) * (b & low) + ((a & low) * (b & low) >> 32);
  const unsigned long long lower = (a & low) * (b >> 32) + (middle & low);
  return (a >> 32) * (b >> 32) + (middle >> 32) + (lower >> 32);
}

inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31));
}

// Four bytes of the eight of a (0 to 3) and b (4 to 7), one digit of the selector each.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned digit = selector >> 4 * i;
    unsigned byte = bytes >> 8 * (digit & 7) & 0xff;
    if ((digit & 8) != 0) byte = (byte & 0x80) != 0 ? 0xff : 0;  // its sign
    result |= byte << 8 * i;
  }
  return result;
}

// c plus the products of four bytes.
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 0xff) * (b >> i & 0xff);
  return c;
}

// Byte by byte, wrapping around.
inline unsigned __vadd4(unsigned a, unsigned b) {
  return ((a & 0x7f7f7f7f) + (b & 0x7f7f7f7f)) ^ ((a ^ b) & 0x80808080);
}
inline unsigned __vsub4(unsigned a, unsigned b) {
  return ((a | 0x80808080) - (b & 0x7f7f7f7f)) ^ ((a ^ ~b) & 0x80808080);
}

// Loads and stores whose cache hints mean nothing here.
#define CUDA_EMULATION_LOAD(NAME) \
  template <typename T>           \
  inline T NAME(const T* place) { \
    return *place;                \
  }
#define CUDA_EMULATION_STORE(NAME)      \
  template <typename T>                 \
  inline void NAME(T* place, T value) { \
    *place = value;                     \
  }
CUDA_EMULATION_LOAD(__ldg)
CUDA_EMULATION_LOAD(__ldca)
CUDA_EMULATION_LOAD(__ldcg)
CUDA_EMULATION_LOAD(__ldcs)
CUDA_EMULATION_LOAD(__ldlu)
CUDA_EMULATION_STORE(__stcg)
CUDA_EMULATION_STORE(__stcs)
CUDA_EMULATION_STORE(__stwt)
#undef CUDA_EMULATION_LOAD
#undef CUDA_EMULATION_STORE
