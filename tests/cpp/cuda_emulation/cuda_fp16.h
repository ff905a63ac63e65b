// Half precision as CUDA's header has it: every result is rounded to a half.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "emulation/halves.h"
#include "emulation/vector_types.h"

struct alignas(2) __half {
  uint16_t bits;

  __half() = default;
  __half(float value) : bits(cuda_emulation::float_to_half_bits(value)) {}
  __half(double value) : __half(cuda_emulation::round_to_odd(value)) {}
  __half(int value) : __half(double{static_cast<double>(value)}) {}
  operator float() const { return cuda_emulation::half_bits_to_float(bits); }
};

struct alignas(4) __half2 {
  __half x, y;

  __half2() = default;
  __half2(__half low, __half high) : x(low), y(high) {}
};

using half = __half;
using half2 = __half2;

inline __half __float2half(float value) {
  return {value};
}
inline __half __float2half_rn(float value) {
  return {value};
}
inline float __half2float(__half value) {
  return value;
}
inline __half2 __floats2half2_rn(float low, float high) {
  return {low, high};
}
inline __half2 __float22half2_rn(float2 value) {
  return {value.x, value.y};
}
inline __half2 __float2half2_rn(float value) {
  return {value, value};
}
inline float2 __half22float2(__half2 value) {
  return {value.x, value.y};
}
inline float __low2float(__half2 value) {
  return value.x;
}
inline float __high2float(__half2 value) {
  return value.y;
}
inline __half __low2half(__half2 value) {
  return value.x;
}
inline __half __high2half(__half2 value) {
  return value.y;
}
inline __half2 __halves2half2(__half low, __half high) {
  return {low, high};
}
inline __half2 make_half2(__half low, __half high) {
  return {low, high};
}
inline __half2 __half2half2(__half value) {
  return {value, value};
}
inline __half __ushort_as_half(uint16_t bits) {
  return std::bit_cast<__half>(bits);
}
inline uint16_t __half_as_ushort(__half value) {
  return value.bits;
}
inline __half __int2half_rn(int value) {
  return {value};
}

// A float holds sums, products and quotients of two exactly enough: rounding twice is as once.
#define CUDA_EMULATION_HALF_OPERATOR(OPERATOR, NAME, NAME2)        \
  inline __half operator OPERATOR(__half a, __half b) {            \
    return __half(float{a} OPERATOR float{b});                     \
  }                                                                \
  inline __half2 operator OPERATOR(__half2 a, __half2 b) {         \
    return {a.x OPERATOR b.x, a.y OPERATOR b.y};                   \
  }                                                                \
  inline __half& operator OPERATOR## = (__half & a, __half b) {    \
    return a = a OPERATOR b;                                       \
  }                                                                \
  inline __half2& operator OPERATOR## = (__half2 & a, __half2 b) { \
    return a = a OPERATOR b;                                       \
  }                                                                \
  inline __half NAME(__half a, __half b) {                         \
    return a OPERATOR b;                                           \
  }                                                                \
  inline __half2 NAME2(__half2 a, __half2 b) {                     \
    return a OPERATOR b;                                           \
  }
CUDA_EMULATION_HALF_OPERATOR(+, __hadd, __hadd2)
CUDA_EMULATION_HALF_OPERATOR(-, __hsub, __hsub2)
CUDA_EMULATION_HALF_OPERATOR(*, __hmul, __hmul2)
CUDA_EMULATION_HALF_OPERATOR(/, __hdiv, __h2div)
#undef CUDA_EMULATION_HALF_OPERATOR

inline __half __hfma(__half a, __half b, __half c) {
  return __half(double{float{a}} * float{b} + float{c});
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
inline __half __hneg(__half a) {
  return __half(-float{a});
}
inline __half2 __hneg2(__half2 a) {
  return {__hneg(a.x), __hneg(a.y)};
}
inline __half __habs(__half a) {
  return __half(std::fabs(float{a}));
}
inline __half2 __habs2(__half2 a) {
  return {__habs(a.x), __habs(a.y)};
}
inline __half __hmax(__half a, __half b) {
  return __half(std::fmax(float{a}, float{b}));
}
inline __half __hmin(__half a, __half b) {
  return __half(std::fmin(float{a}, float{b}));
}
inline __half2 __hmax2(__half2 a, __half2 b) {
  return {__hmax(a.x, b.x), __hmax(a.y, b.y)};
}
inline __half2 __hmin2(__half2 a, __half2 b) {
  return {__hmin(a.x, b.x), __hmin(a.y, b.y)};
}
