// Products by four warps together (a warpgroup: warps 4 i to 4 i + 3), of compute capability 9.0
// alone: with the "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions" of the PTX
// ISA. Only what is compiled for sm_90a may call them. Tests shadow this file with the same in
// plain C++.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {

// The second factor of a product, k by columns, as its transpose lies in shared memory: rows of 128
// bytes, of which every 8 begin at a multiple of 1024, and of row r the 16-byte piece c at place
// c ^ (r % 8) ("128-byte swizzling"). 16 inputs further: `rows` + kWgmmaStep.
__device__ __forceinline__ uint64_t wgmma_rows(const void* shared_rows) {
  constexpr uint64_t kEightRows = 1024 >> 4, kSwizzled128 = 1;
  return (shared_address(shared_rows) >> 4 & 0x3fff) | uint64_t{1} << 16 | kEightRows << 32 |
         kSwizzled128 << 62;
}
inline constexpr uint64_t kWgmmaStep = 32 >> 4;

// The compiler knows nothing of a product's end: what comes before this in the program writes these
// registers before, what comes behind reads them behind.
template <int kCount>
__device__ __forceinline__ void hold(float (&sums)[kCount][4]) {
#pragma unroll
  for (int f = 0; f < kCount; ++f) {
    asm volatile(""
                 : "+f"(sums[f][0]), "+f"(sums[f][1]), "+f"(sums[f][2]),
                   "+f"(sums[f][3])::"memory");
  }
}
template <int kCount>
__device__ __forceinline__ void hold(uint32_t (&factors)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    asm volatile(""
                 : "+r"(factors[i][0]), "+r"(factors[i][1]), "+r"(factors[i][2]),
                   "+r"(factors[i][3])::"memory");
  }
}

// Stands between the last access to the registers of products and the products.
template <int kSums, int kFactors>
__device__ __forceinline__ void wgmma_begin(float (&d)[kSums][4], uint32_t (&a)[kFactors][4]) {
  hold(d);
  hold(a);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Ends once all products that this warp has begun are there.
template <int kSums>
__device__ __forceinline__ void wgmma_finish(float (&d)[kSums][4]) {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  hold(d);
}

// d += a b for 64 rows of a, 16 for each warp, laid out as those of mma.m16n8k16, and 64 or 128
// columns of b, eight for each fragment of d.
#define CHATGLM_FOUR_SUMS(f) "+f"(d[f][0]), "+f"(d[f][1]), "+f"(d[f][2]), "+f"(d[f][3])
__device__ __forceinline__ void wgmma_f16(float (&d)[8][4], const uint32_t (&a)[4], uint64_t rows) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
      : CHATGLM_FOUR_SUMS(0), CHATGLM_FOUR_SUMS(1), CHATGLM_FOUR_SUMS(2), CHATGLM_FOUR_SUMS(3),
        CHATGLM_FOUR_SUMS(4), CHATGLM_FOUR_SUMS(5), CHATGLM_FOUR_SUMS(6), CHATGLM_FOUR_SUMS(7)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(rows));
}

__device__ __forceinline__ void wgmma_f16(float (&d)[16][4], const uint32_t (&a)[4],
                                          uint64_t rows) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
      "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "
      "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
      : CHATGLM_FOUR_SUMS(0), CHATGLM_FOUR_SUMS(1), CHATGLM_FOUR_SUMS(2), CHATGLM_FOUR_SUMS(3),
        CHATGLM_FOUR_SUMS(4), CHATGLM_FOUR_SUMS(5), CHATGLM_FOUR_SUMS(6), CHATGLM_FOUR_SUMS(7),
        CHATGLM_FOUR_SUMS(8), CHATGLM_FOUR_SUMS(9), CHATGLM_FOUR_SUMS(10), CHATGLM_FOUR_SUMS(11),
        CHATGLM_FOUR_SUMS(12), CHATGLM_FOUR_SUMS(13), CHATGLM_FOUR_SUMS(14), CHATGLM_FOUR_SUMS(15)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(rows));
}

__device__ __forceinline__ void wgmma_bf16(float (&d)[8][4], const uint32_t (&a)[4],
                                           uint64_t rows) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
      : CHATGLM_FOUR_SUMS(0), CHATGLM_FOUR_SUMS(1), CHATGLM_FOUR_SUMS(2), CHATGLM_FOUR_SUMS(3),
        CHATGLM_FOUR_SUMS(4), CHATGLM_FOUR_SUMS(5), CHATGLM_FOUR_SUMS(6), CHATGLM_FOUR_SUMS(7)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(rows));
}

__device__ __forceinline__ void wgmma_bf16(float (&d)[16][4], const uint32_t (&a)[4],
                                           uint64_t rows) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, "
      "%34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, "
      "%50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
      : CHATGLM_FOUR_SUMS(0), CHATGLM_FOUR_SUMS(1), CHATGLM_FOUR_SUMS(2), CHATGLM_FOUR_SUMS(3),
        CHATGLM_FOUR_SUMS(4), CHATGLM_FOUR_SUMS(5), CHATGLM_FOUR_SUMS(6), CHATGLM_FOUR_SUMS(7),
        CHATGLM_FOUR_SUMS(8), CHATGLM_FOUR_SUMS(9), CHATGLM_FOUR_SUMS(10), CHATGLM_FOUR_SUMS(11),
        CHATGLM_FOUR_SUMS(12), CHATGLM_FOUR_SUMS(13), CHATGLM_FOUR_SUMS(14), CHATGLM_FOUR_SUMS(15)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(rows));
}
#undef CHATGLM_FOUR_SUMS

}  // namespace chatglm::kernels::cuda
