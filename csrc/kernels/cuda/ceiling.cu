// The loops of ceiling.h.
#include "kernels/cuda/ceiling.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kCopyThreads = 512;
constexpr int kCopyBlocks = 4;  // of a multiprocessor
constexpr int kInFlight = 4;    // loads of a thread

__global__ void __launch_bounds__(kCopyThreads)
    ceiling_copy_kernel(const uint4* from, uint4* to, int64_t count) {
  const int64_t stride = int64_t{gridDim.x} * kCopyThreads;
  for (int64_t i = int64_t{blockIdx.x} * kCopyThreads + threadIdx.x; i < count;
       i += kInFlight * stride) {
    uint4 values[kInFlight];
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      if (i + j * stride < count) values[j] = load_streaming(from + i + j * stride);
    }
#pragma unroll
    for (int j = 0; j < kInFlight; ++j) {
      if (i + j * stride < count) to[i + j * stride] = values[j];
    }
  }
}

// Two warps for each of a multiprocessor's four matrix units, with eight products under way each.
constexpr int kProductWarps = 8;
constexpr int kProductThreads = 32 * kProductWarps;
constexpr int kProducts = 8;
constexpr int64_t kProductOperations = 2 * 16 * 8 * 16;

__global__ void __launch_bounds__(kProductThreads)
    ceiling_product_kernel(int64_t rounds, float* sink) {
  // Numbers near one, of both signs: what is multiplied is seen in a GPU's clock.
  uint32_t a[4], b[2];
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i)
    a[i] = 0x3f803f80u ^ ((threadIdx.x * 0x9e3779b9u + i) & 0x807f807fu);
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i)
    b[i] = 0x3f803f80u ^ ((threadIdx.x * 0x85ebca6bu + i) & 0x807f807fu);
  float sums[kProducts][4] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kProducts; ++i) mma_bf16_16x8x16(sums[i], a, b);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kProducts; ++i) {
    for (const float sum : sums[i]) total += sum;
  }
  if (total == 1.2345f) *sink = total;  // so that the products are needed
}

}  // namespace

void copy_through_registers(const std::byte* from, std::byte* to, int64_t size_bytes,
                            int multiprocessors, Stream stream) {
  launch(ceiling_copy_kernel, dim3(static_cast<unsigned>(kCopyBlocks * multiprocessors)),
         kCopyThreads, 0, stream, reinterpret_cast<const uint4*>(from),
         reinterpret_cast<uint4*>(to), size_bytes / int64_t{sizeof(uint4)});
}

int64_t bf16_products(int multiprocessors, int64_t rounds, float* sink, Stream stream) {
  launch(ceiling_product_kernel, dim3(static_cast<unsigned>(multiprocessors)), kProductThreads, 0,
         stream, rounds, sink);
  return kProductOperations * kProducts * kProductWarps * multiprocessors * rounds;
}

}  // namespace chatglm::kernels::cuda
