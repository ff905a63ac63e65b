// Products of up to 16 f32 rows with f32, f16 or bf16 weights, in f32. A warp has kOutputs rows of
// the matrix; its lanes have neighbouring 16 bytes, which each copies through a ring in shared
// memory for itself (see gemv_rowwise.cu). More than 8 rows of x are two groups of blocks side by
// side, the second of which finds the weights in the cache.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/gemv_outputs.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/prepare_input.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

// 16 bytes of weights as f32.
template <Codes kCodes>
struct Chunk;

template <>
struct Chunk<Codes::kF32> {
  static constexpr int kWeights = 4;
  float values[kWeights];
  __device__ __forceinline__ explicit Chunk(const uint4& w) {
    values[0] = __uint_as_float(w.x);
    values[1] = __uint_as_float(w.y);
    values[2] = __uint_as_float(w.z);
    values[3] = __uint_as_float(w.w);
  }
};

template <>
struct Chunk<Codes::kF16> {
  static constexpr int kWeights = 8;
  float values[kWeights];
  __device__ __forceinline__ explicit Chunk(const uint4& w) {
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[2 * i] = __half2float(__ushort_as_half(static_cast<unsigned short>(words[i])));
      values[2 * i + 1] =
          __half2float(__ushort_as_half(static_cast<unsigned short>(words[i] >> 16)));
    }
  }
};

template <>
struct Chunk<Codes::kBF16> {
  static constexpr int kWeights = 8;
  float values[kWeights];
  __device__ __forceinline__ explicit Chunk(const uint4& w) {
    const uint32_t words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[2 * i] = __uint_as_float(words[i] << 16);
      values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000U);
    }
  }
};

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kStages = 4;

template <int kInputs, int kOutputs>
struct Shared {
  uint4 ring[kStages][kOutputs][kThreads];
  std::byte* cached[kWarps][kInputs];  // see gemv_outputs.cuh
};

// Grid: (groups of kInputs rows, groups of outputs). x_cols: from one row of x to the next.
template <Codes kCodes, int kInputs, int kOutputs>
__global__ void __launch_bounds__(kThreads)
    multiply_plain(ProductArgs args, HeadOutputs heads, int64_t x_cols) {
  constexpr int kWeights = Chunk<kCodes>::kWeights;
  using Memory = Shared<kInputs, kOutputs>;
  Memory& shared = shared_memory<Memory>();
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpLanes;
  const int warp = thread / kWarpLanes;
  const DeviceWeight& weight = args.weight;
  const int64_t first_output = (static_cast<int64_t>(blockIdx.y) * kWarps + warp) * kOutputs;
  const int64_t first_input = static_cast<int64_t>(blockIdx.x) * kInputs;
  if (first_output >= weight.n) return;  // no barrier is for the whole block
  grid_dependency_trigger();
  const int outputs =
      static_cast<int>(min(weight.n - first_output, static_cast<int64_t>(kOutputs)));

  // The chunks of 16 bytes that are this lane's: every 32nd.
  const auto chunks = static_cast<int>(weight.codes_row_bytes / 16);
  const std::byte* source = weight.codes + first_output * weight.codes_row_bytes + lane * 16;
  int to_copy = chunks - lane;
  // Starts to copy the next one of each row; beyond the last one nothing is read.
  const auto copy = [&](int stage) {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      cp_async_16_zfill(&shared.ring[stage][o][thread], source + o * weight.codes_row_bytes,
                        to_copy > 0 && o < outputs ? 16 : 0);
    }
    source += kWarpLanes * 16;
    to_copy -= kWarpLanes;
    cp_async_commit();
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) copy(i);
  const int block_row = static_cast<int>(blockIdx.x) * kInputs;
  if (are_heads(heads) && lane < kInputs && lane < static_cast<int>(args.m) - block_row) {
    shared.cached[warp][lane] = stored_row(heads.cache, block_row + lane);
  }
  grid_dependency_wait();  // weights are nobody's output

  const float4* x[kInputs];
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    const int64_t row = min(first_input + i, args.m - 1);
    x[i] = reinterpret_cast<const float4*>(static_cast<const float*>(args.x) + row * x_cols);
  }
  float sums[kOutputs][kInputs] = {};
  int filled = kStages - 1, next = 0;  // places in the ring
  for (int chunk = lane; chunk < chunks; chunk += kWarpLanes) {
    cp_async_wait<kStages - 2>();
    copy(filled);
    float weights[kOutputs][kWeights];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      const Chunk<kCodes> opened(shared.ring[next][o][thread]);
#pragma unroll
      for (int j = 0; j < kWeights; ++j) weights[o][j] = opened.values[j];
    }
    filled = next;
    next = next + 1 < kStages ? next + 1 : 0;
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
#pragma unroll
      for (int quad = 0; quad < kWeights / 4; ++quad) {
        const float4 inputs = x[i][chunk * (kWeights / 4) + quad];
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          const float* w = weights[o] + 4 * quad;
          float sum = __fmaf_rn(w[0], inputs.x, sums[o][i]);
          sum = __fmaf_rn(w[1], inputs.y, sum);
          sum = __fmaf_rn(w[2], inputs.z, sum);
          sums[o][i] = __fmaf_rn(w[3], inputs.w, sum);
        }
      }
    }
  }
  cp_async_wait<0>();
  __syncwarp();

  // Lane o * kInputs + i writes output o of row i.
  static_assert(kOutputs * kInputs <= kWarpLanes);
  float own = 0;
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      const float sum = warp_sum(sums[o][i]);
      if (lane == o * kInputs + i) own = sum;
    }
  }
  const int64_t row = first_input + lane % kInputs;
  finish_output<kInputs>(args, heads, row, first_output + lane / kInputs, own,
                         lane < outputs * kInputs && row < args.m,
                         shared.cached[warp][lane % kInputs]);
}

template <Codes kCodes, int kInputs, int kOutputs>
void run(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  constexpr int64_t kBlockOutputs = kWarps * kOutputs;
  const dim3 grid(static_cast<unsigned>((args.m + kInputs - 1) / kInputs),
                  static_cast<unsigned>((args.weight.n + kBlockOutputs - 1) / kBlockOutputs));
  launch_early(early, multiply_plain<kCodes, kInputs, kOutputs>, grid, kThreads,
               sizeof(Shared<kInputs, kOutputs>), stream, args, heads,
               input_cols(InputForm::kF32, args.weight.k));
}

template <Codes kCodes>
void run_codes(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  if (args.m == 1) return run<kCodes, 1, 2>(args, heads, stream, early);
  if (args.m == 2) return run<kCodes, 2, 2>(args, heads, stream, early);
  if (args.m <= 4) return run<kCodes, 4, 2>(args, heads, stream, early);
  run<kCodes, 8, 4>(args, heads, stream, early);
}

}  // namespace

void gemv_plain(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  if (args.weight.form.codes == Codes::kF32)
    return run_codes<Codes::kF32>(args, heads, stream, early);
  if (args.weight.form.codes == Codes::kF16)
    return run_codes<Codes::kF16>(args, heads, stream, early);
  run_codes<Codes::kBF16>(args, heads, stream, early);
}

}  // namespace chatglm::kernels::cuda
