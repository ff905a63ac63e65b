// bfloat16 as CUDA's header has it: every result is rounded to a bfloat16.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "emulation/halves.h"
#include "emulation/vector_types.h"

struct alignas(2) __nv_bfloat16 {
  uint16_t bits;

  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(cuda_emulation::float_to_bfloat16_bits(value)) {}
  __nv_bfloat16(double value) : __nv_bfloat16(cuda_emulation::round_to_odd(value)) {}
  __nv_bfloat16(int value) : __nv_bfloat16(double{static_cast<double>(value)}) {}
  operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;

  __nv_bfloat162() = default;
  __nv_bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) : x(low), y(high) {}
};

using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __nv_bfloat16 __float2bfloat16(float value) {
  return {value};
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  return {value};
}
inline float __bfloat162float(__nv_bfloat16 value) {
  return value;
}
inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return {low, high};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 value) {
  return {value.x, value.y};
}
inline __nv_bfloat162 __float2bfloat162_rn(float value) {
  return {value, value};
}
inline float2 __bfloat1622float2(__nv_bfloat162 value) {
  return {value.x, value.y};
}
inline float __low2float(__nv_bfloat162 value) {
  return value.x;
}
inline float __high2float(__nv_bfloat162 value) {
  return value.y;
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 value) {
  return value.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 value) {
  return value.y;
}
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) {
  return {low, high};
}
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) {
  return {low, high};
}
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 value) {
  return {value, value};
}
inline __nv_bfloat16 __ushort_as_bfloat16(uint16_t bits) {
  return std::bit_cast<__nv_bfloat16>(bits);
}
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 value) {
  return value.bits;
}

// A float holds sums, products and quotients of two exactly enough: rounding twice is as once.
#define CUDA_EMULATION_HALF_OPERATOR(OPERATOR, NAME, NAME2)                             \
  inline __nv_bfloat16 operator OPERATOR(__nv_bfloat16 a, __nv_bfloat16 b) {            \
    return __nv_bfloat16(float{a} OPERATOR float{b});                                   \
  }                                                                                     \
  inline __nv_bfloat162 operator OPERATOR(__nv_bfloat162 a, __nv_bfloat162 b) {         \
    return {a.x OPERATOR b.x, a.y OPERATOR b.y};                                        \
  }                                                                                     \
  inline __nv_bfloat16& operator OPERATOR## = (__nv_bfloat16 & a, __nv_bfloat16 b) {    \
    return a = a OPERATOR b;                                                            \
  }                                                                                     \
  inline __nv_bfloat162& operator OPERATOR## = (__nv_bfloat162 & a, __nv_bfloat162 b) { \
    return a = a OPERATOR b;                                                            \
  }                                                                                     \
  inline __nv_bfloat16 NAME(__nv_bfloat16 a, __nv_bfloat16 b) {                         \
    return a OPERATOR b;                                                                \
  }                                                                                     \
  inline __nv_bfloat162 NAME2(__nv_bfloat162 a, __nv_bfloat162 b) {                     \
    return a OPERATOR b;                                                                \
  }
CUDA_EMULATION_HALF_OPERATOR(+, __hadd, __hadd2)
CUDA_EMULATION_HALF_OPERATOR(-, __hsub, __hsub2)
CUDA_EMULATION_HALF_OPERATOR(*, __hmul, __hmul2)
CUDA_EMULATION_HALF_OPERATOR(/, __hdiv, __h2div)
#undef CUDA_EMULATION_HALF_OPERATOR

inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) {
  return __nv_bfloat16(double{float{a}} * float{b} + float{c});
}
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
inline __nv_bfloat16 __hneg(__nv_bfloat16 a) {
  return __nv_bfloat16(-float{a});
}
inline __nv_bfloat162 __hneg2(__nv_bfloat162 a) {
  return {__hneg(a.x), __hneg(a.y)};
}
inline __nv_bfloat16 __habs(__nv_bfloat16 a) {
  return __nv_bfloat16(std::fabs(float{a}));
}
inline __nv_bfloat162 __habs2(__nv_bfloat162 a) {
  return {__habs(a.x), __habs(a.y)};
}
inline __nv_bfloat16 __hmax(__nv_bfloat16 a, __nv_bfloat16 b) {
  return __nv_bfloat16(std::fmax(float{a}, float{b}));
}
inline __nv_bfloat16 __hmin(__nv_bfloat16 a, __nv_bfloat16 b) {
  return __nv_bfloat16(std::fmin(float{a}, float{b}));
}
inline __nv_bfloat162 __hmax2(__nv_bfloat162 a, __nv_bfloat162 b) {
  return {__hmax(a.x, b.x), __hmax(a.y, b.y)};
}
inline __nv_bfloat162 __hmin2(__nv_bfloat162 a, __nv_bfloat162 b) {
  return {__hmin(a.x, b.x), __hmin(a.y, b.y)};
}
