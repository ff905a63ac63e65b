// CUDA's vector types, with its sizes and alignments, and the words that mark functions.
#pragma once

#include <cstdint>

#define __global__
#define __grid_constant__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

// NAME1 is not offered: a vector of one is its element.
#define CUDA_EMULATION_VECTORS(NAME, T)                             \
  struct alignas(2 * sizeof(T)) NAME##2 {                           \
    T x, y;                                                         \
  };                                                                \
  struct NAME##3 {                                                  \
    T x, y, z;                                                      \
  };                                                                \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) NAME##4 { \
    T x, y, z, w;                                                   \
  };                                                                \
  constexpr NAME##2 make_##NAME##2(T x, T y) {                      \
    return {x, y};                                                  \
  }                                                                 \
  constexpr NAME##3 make_##NAME##3(T x, T y, T z) {                 \
    return {x, y, z};                                               \
  }                                                                 \
  constexpr NAME##4 make_##NAME##4(T x, T y, T z, T w) {            \
    return {x, y, z, w};                                            \
  }

CUDA_EMULATION_VECTORS(char, signed char)
CUDA_EMULATION_VECTORS(uchar, unsigned char)
CUDA_EMULATION_VECTORS(short, short)
CUDA_EMULATION_VECTORS(ushort, unsigned short)
CUDA_EMULATION_VECTORS(int, int)
CUDA_EMULATION_VECTORS(uint, unsigned)
CUDA_EMULATION_VECTORS(longlong, long long)
CUDA_EMULATION_VECTORS(ulonglong, unsigned long long)
CUDA_EMULATION_VECTORS(float, float)
CUDA_EMULATION_VECTORS(double, double)
#undef CUDA_EMULATION_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3() = default;
  constexpr dim3(unsigned x_size, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
};
