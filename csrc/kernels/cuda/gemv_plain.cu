// Products of up to 16 f32 rows with f32, f16 or bf16 weights, in f32. A warp has kOutputs rows of
// the matrix; its lanes have neighbouring 16 bytes. More than 8 rows of x are two groups of blocks
// side by side, the second of which finds the weights in the cache.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/gemv_codes.cuh"
#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/prepare_input.h"
#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 128;

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

// Grid: (groups of kInputs rows, groups of outputs). x_cols: from one row of x to the next.
template <Codes kCodes, int kInputs, int kOutputs, int kUnroll>
__global__ void __launch_bounds__(kThreads) multiply_plain(ProductArgs args, int64_t x_cols) {
  constexpr int kWeights = Chunk<kCodes>::kWeights;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int64_t warp = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) / kWarpLanes;
  const int64_t first_output = warp * kOutputs;
  const int64_t first_input = static_cast<int64_t>(blockIdx.x) * kInputs;
  const DeviceWeight& weight = args.weight;
  if (first_output >= weight.n) return;

  const int64_t chunks = (weight.k + kWeights - 1) / kWeights;
  const uint4* codes[kOutputs];
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
    codes[o] = reinterpret_cast<const uint4*>(weight.codes + min(first_output + o, weight.n - 1) *
                                                                 weight.codes_row_bytes);
  }
  const float4* x[kInputs];
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    x[i] = reinterpret_cast<const float4*>(static_cast<const float*>(args.x) +
                                           min(first_input + i, args.m - 1) * x_cols);
  }

  uint4 loaded[kUnroll][kOutputs];
  const auto load = [&](int64_t first) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        loaded[u][o] = load_streaming(codes[o] + min(first + u * kWarpLanes + lane, chunks - 1));
      }
    }
  };

  float sums[kOutputs][kInputs] = {};
  load(0);
  for (int64_t first = 0;;) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t chunk = first + u * kWarpLanes + lane;
      if (chunk < chunks) {
        float weights[kOutputs][kWeights];
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          const Chunk<kCodes> opened(loaded[u][o]);
#pragma unroll
          for (int j = 0; j < kWeights; ++j) weights[o][j] = opened.values[j];
        }
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
    }
    first += kUnroll * kWarpLanes;
    if (first >= chunks) break;
    load(first);
  }

#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      const float sum = warp_sum(sums[o][i]);
      if (lane == o * kInputs + i && first_input + i < args.m && first_output + o < weight.n) {
        finish_output(args, first_input + i, first_output + o, sum);
      }
    }
  }
}

template <Codes kCodes, int kInputs, int kOutputs, int kUnroll>
void run(const ProductArgs& args, Stream stream) {
  constexpr int64_t kBlockOutputs = kThreads / kWarpLanes * kOutputs;
  const dim3 grid(static_cast<unsigned>((args.m + kInputs - 1) / kInputs),
                  static_cast<unsigned>((args.weight.n + kBlockOutputs - 1) / kBlockOutputs));
  launch(multiply_plain<kCodes, kInputs, kOutputs, kUnroll>, grid, kThreads, 0, stream, args,
         input_cols(InputForm::kF32, args.weight.k));
}

template <Codes kCodes>
void run_codes(const ProductArgs& args, Stream stream) {
  if (args.m == 1) return run<kCodes, 1, 2, 4>(args, stream);
  if (args.m == 2) return run<kCodes, 2, 2, 4>(args, stream);
  if (args.m <= 4) return run<kCodes, 4, 2, 2>(args, stream);
  run<kCodes, 8, 4, 1>(args, stream);
}

}  // namespace

void gemv_plain(const ProductArgs& args, Stream stream) {
  if (args.weight.form.codes == Codes::kF32) return run_codes<Codes::kF32>(args, stream);
  if (args.weight.form.codes == Codes::kF16) return run_codes<Codes::kF16>(args, stream);
  run_codes<Codes::kBF16>(args, stream);
}

}  // namespace chatglm::kernels::cuda
