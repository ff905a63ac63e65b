// Norm, gate and rounding of a product's inputs in one pass: f32 rows are read once and kept in
// registers, unless they are longer than kHeld * 4 inputs a thread.
#include "kernels/cuda/prepare_input.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/int8_input.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kQuad = 4;  // consecutive inputs, those of one thread
constexpr int kHeld = 4;  // quads of a row that a thread keeps
constexpr int kMaxThreads = 1024;
constexpr int kSliceThreads = 256;  // of a block that needs no sum over its row
constexpr uint32_t kInfinityBits = 0x7f800000U;

struct Shared {
  float sums[kMaxThreads / kWarpLanes];
  uint32_t largest[kMaxThreads / kWarpLanes];
};

// The same on every thread; adds the warps' sums in their order.
__device__ float row_sum(Shared& shared, float value) {
  value = warp_sum(value);
  if (threadIdx.x % kWarpLanes == 0) shared.sums[threadIdx.x / kWarpLanes] = value;
  __syncthreads();
  float sum = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarpLanes; ++warp) sum += shared.sums[warp];
  return sum;
}

__device__ uint32_t row_largest(Shared& shared, uint32_t value) {
  for (int step = kWarpLanes / 2; step > 0; step /= 2) {
    value = max(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  if (threadIdx.x % kWarpLanes == 0) shared.largest[threadIdx.x / kWarpLanes] = value;
  __syncthreads();
  uint32_t largest = 0;
  for (unsigned warp = 0; warp < blockDim.x / kWarpLanes; ++warp) {
    largest = max(largest, shared.largest[warp]);
  }
  return largest;
}

// Magnitudes compare like their bits do, and a NaN is more than all.
__device__ __forceinline__ uint32_t magnitude_bits(float value) {
  return __float_as_uint(value) & 0x7fffffffU;
}
__device__ __forceinline__ uint32_t largest_of(const float (&quad)[kQuad]) {
  return max(max(magnitude_bits(quad[0]), magnitude_bits(quad[1])),
             max(magnitude_bits(quad[2]), magnitude_bits(quad[3])));
}

__device__ __forceinline__ float silu_times(float gate, float up) {
  return gate / (1.0F + __expf(-gate)) * up;
}

// Inputs [i, i + 4) of a row of k, zeros beyond its end.
__device__ __forceinline__ void load_quad(const float* row, int64_t i, int64_t k, bool aligned,
                                          float (&quad)[kQuad]) {
  if (aligned && i + kQuad <= k) {
    const float4 loaded = *reinterpret_cast<const float4*>(row + i);
    quad[0] = loaded.x;
    quad[1] = loaded.y;
    quad[2] = loaded.z;
    quad[3] = loaded.w;
  } else {
    for (int j = 0; j < kQuad; ++j) quad[j] = i + j < k ? row[i + j] : 0.0F;
  }
}

// The row of this block.
struct Row {
  const float* x;       // (k), or (2 k): gate, then up
  const float* weight;  // (k) or nullptr: no norm
  float scale;          // of the norm
  int64_t k;
  bool gated;
  bool aligned;  // quads of x and weight can be read at once

  // What can be said without the norm's scale.
  __device__ void load(int64_t i, float (&quad)[kQuad]) const {
    load_quad(x, i, k, aligned, quad);
    if (!gated) return;
    float up[kQuad];
    load_quad(x + k, i, k, aligned, up);
    for (int j = 0; j < kQuad; ++j) quad[j] = silu_times(quad[j], up[j]);
  }
  // The input itself, of what load() gave.
  __device__ void finish(int64_t i, float (&quad)[kQuad]) const {
    if (weight == nullptr) return;
    float factors[kQuad];
    load_quad(weight, i, k, aligned, factors);
    for (int j = 0; j < kQuad; ++j) quad[j] = quad[j] * scale * factors[j];
  }
};

// The quads of a slice of a row, the block's threads side by side.
struct Slice {
  int64_t begin, end;  // multiples of kQuad
  float held[kHeld][kQuad];

  __device__ int64_t stride() const { return static_cast<int64_t>(blockDim.x) * kQuad; }
  __device__ void load(const Row& row) {
    for (int c = 0; c < kHeld; ++c) {
      const int64_t i = begin + c * stride() + threadIdx.x * kQuad;
      if (i < end) row.load(i, held[c]);
    }
  }
  // Calls body(i, quad) for every quad of this thread. All lanes of a warp make the same calls, so
  // that they may exchange values: beyond the end with zeros.
  template <typename Body>
  __device__ void for_each(const Row& row, const Body& body) const {
    const int64_t first = begin + (threadIdx.x / kWarpLanes) * kWarpLanes * kQuad;  // of the warp
    const int64_t own = threadIdx.x % kWarpLanes * kQuad;
    float quad[kQuad];
#pragma unroll
    for (int c = 0; c < kHeld; ++c) {
      const int64_t i = first + c * stride();
      if (i >= end) return;
      for (int j = 0; j < kQuad; ++j) quad[j] = i + own < end ? held[c][j] : 0.0F;
      body(i + own, quad);
    }
    for (int64_t i = first + kHeld * stride(); i < end; i += stride()) {
      for (int j = 0; j < kQuad; ++j) quad[j] = 0.0F;
      if (i + own < end) row.load(i + own, quad);
      body(i + own, quad);
    }
  }
};

// A quad of int8 inputs to its place; the eight lanes of a block of 32 find its step together.
struct Int8Writer {
  std::byte* prepared;
  int64_t row;
  int64_t blocks;  // of a row
  int groups;      // 0: rowwise

  __device__ void write(int64_t i, const float (&quad)[kQuad], bool inside) const {
    uint32_t largest_bits = largest_of(quad);
    for (int step = 1; step < 8; step *= 2) {
      largest_bits = max(largest_bits, __shfl_xor_sync(kAllLanes, largest_bits, step));
    }
    const float largest = __uint_as_float(largest_bits);
    // Below this bound 127 / largest overflows: the block counts as zero.
    const bool usable = largest_bits < kInfinityBits && largest >= 1e-36F;
    const float inverse = usable ? 127.0F / largest : 0.0F;
    const bool finite = largest_bits < kInfinityBits;
    int codes[kQuad];
    for (int j = 0; j < kQuad; ++j) {
      codes[j] = usable ? static_cast<int>(rintf(quad[j] * inverse)) : 0;
    }
    int sum = codes[0] + codes[1] + codes[2] + codes[3];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    const int other_sum = __shfl_xor_sync(kAllLanes, sum, 4);
    if (!inside) return;

    uint32_t packed = 0;
    for (int j = 0; j < kQuad; ++j) packed |= (static_cast<uint32_t>(codes[j]) & 0xffU) << 8 * j;
    const int64_t block = i / kInputBlock;
    const int word = static_cast<int>(i % kInputBlock) / kQuad;
    // A block that is no number must not become one.
    const BlockStep step{
        .step = usable   ? largest / 127.0F
                : finite ? 0.0F
                         : largest,
        .sums = (static_cast<uint32_t>(sum) & 0xffffU) | static_cast<uint32_t>(other_sum) << 16};
    if (groups == 0) {
      const Int8Row lying{prepared + row * Int8Row::bytes(blocks), blocks};
      *lying.word(block, word) = packed;
      if (word == 0) lying.steps()[block] = step;
    } else {
      const Int8Groups lying{prepared, blocks, groups};
      const int at = static_cast<int>(row);
      *lying.word(block, at, word) = packed;
      if (word == 0) lying.steps(block, at / kGroupInputs)[at % kGroupInputs] = step;
    }
  }
};

// The power of two that brings `largest` (bits of a magnitude) into [2^14, 2^15), and its inverse.
struct HalfScale {
  float scale, inverse;
  __device__ explicit HalfScale(uint32_t largest) {
    // Not for what is no number; and no further than the inverse has an exponent.
    const uint32_t exponent = max(largest >> 23, 15U);
    const bool finite = largest < kInfinityBits;
    scale = finite ? __uint_as_float((exponent - 14) << 23) : 1.0F;
    inverse = finite ? __uint_as_float((268 - exponent) << 23) : 1.0F;
  }
};

// Grid: (rows, slices). span: inputs of a slice; all of them where the row has a norm or a scale.
template <InputForm kForm>
__global__ void __launch_bounds__(kMaxThreads)
    prepare_rows(PrepareArgs args, int64_t cols, int64_t span, int groups) {
  Shared& shared = shared_memory<Shared>();
  grid_dependency_trigger();
  grid_dependency_wait();
  const int64_t index = blockIdx.x;
  const bool filler = index >= args.m;  // a row that only fills a group
  Row row{.x = args.x + (filler ? 0 : index) * args.k * (args.gated ? 2 : 1),
          .weight = args.norm_weight,
          .scale = 1.0F,
          .k = filler ? 0 : args.k,
          .gated = args.gated && !filler,
          .aligned = args.k % kQuad == 0 && reinterpret_cast<std::uintptr_t>(args.x) % 16 == 0 &&
                     reinterpret_cast<std::uintptr_t>(args.norm_weight) % 16 == 0};
  Slice slice;
  slice.begin = blockIdx.y * span;
  slice.end = min(slice.begin + span, cols);
  slice.load(row);

  if (row.weight != nullptr) {
    float sum = 0;
    slice.for_each(row, [&](int64_t, const float (&quad)[kQuad]) {
      for (int j = 0; j < kQuad; ++j) sum += quad[j] * quad[j];
    });
    sum = row_sum(shared, sum);
    row.scale = 1.0F / sqrtf(sum / static_cast<float>(args.k) + args.norm_epsilon);
  }

  if constexpr (kForm == InputForm::kInt8) {
    const Int8Writer writer{args.prepared, index, cols / kInputBlock, groups};
    slice.for_each(row, [&](int64_t i, float (&quad)[kQuad]) {
      const bool inside = i < slice.end;
      if (inside) row.finish(i, quad);
      writer.write(i, quad, inside);
    });
  } else if constexpr (kForm == InputForm::kF16) {
    uint32_t largest = 0;
    slice.for_each(row, [&](int64_t i, float (&quad)[kQuad]) {
      if (i < slice.end) row.finish(i, quad);
      largest = max(largest, largest_of(quad));
    });
    const HalfScale scale(row_largest(shared, largest));
    auto* const halves = reinterpret_cast<__half2*>(args.prepared) + index * cols / 2;
    slice.for_each(row, [&](int64_t i, float (&quad)[kQuad]) {
      if (i >= slice.end) return;
      row.finish(i, quad);
      for (float& value : quad) value *= scale.inverse;
      halves[i / 2] = __floats2half2_rn(quad[0], quad[1]);
      halves[i / 2 + 1] = __floats2half2_rn(quad[2], quad[3]);
    });
    auto* const scales = reinterpret_cast<float*>(args.prepared + args.m * cols * 2);
    if (threadIdx.x == 0) scales[index] = scale.scale;
  } else {
    slice.for_each(row, [&](int64_t i, float (&quad)[kQuad]) {
      if (i >= slice.end) return;
      row.finish(i, quad);
      if constexpr (kForm == InputForm::kBF16) {
        auto* const values = reinterpret_cast<__nv_bfloat162*>(args.prepared) + index * cols / 2;
        values[i / 2] = __floats2bfloat162_rn(quad[0], quad[1]);
        values[i / 2 + 1] = __floats2bfloat162_rn(quad[2], quad[3]);
      } else {
        auto* const values = reinterpret_cast<float4*>(args.prepared) + index * cols / kQuad;
        values[i / kQuad] = make_float4(quad[0], quad[1], quad[2], quad[3]);
      }
    });
  }
}

unsigned to_unsigned(int64_t value) {
  return static_cast<unsigned>(value);
}

}  // namespace

void prepare_input(const PrepareArgs& args, InputForm form, Stream stream, bool early) {
  const int64_t cols = input_cols(form, args.k);
  const bool whole_rows = args.norm_weight != nullptr || form == InputForm::kF16;
  const int64_t held_warps = (cols + kHeld * kQuad * kWarpLanes - 1) / (kHeld * kQuad * kWarpLanes);
  const auto threads =
      whole_rows ? static_cast<int>(std::min<int64_t>(held_warps * kWarpLanes, kMaxThreads))
                 : kSliceThreads;
  const int64_t span = whole_rows ? cols : threads * kQuad;
  const bool grouped = form == InputForm::kInt8 && args.m > kRowwiseInputs;
  const int64_t groups = grouped ? (args.m + kGroupInputs - 1) / kGroupInputs : 0;
  const int64_t rows = grouped ? groups * kGroupInputs : args.m;
  const dim3 grid(to_unsigned(rows), to_unsigned((cols + span - 1) / span));
  const auto run = [&](auto* kernel) {
    launch_early(early, kernel, grid, threads, sizeof(Shared), stream, args, cols, span,
                 static_cast<int>(groups));
  };
  switch (form) {
    case InputForm::kInt8:
      return run(prepare_rows<InputForm::kInt8>);
    case InputForm::kF16:
      return run(prepare_rows<InputForm::kF16>);
    case InputForm::kBF16:
      return run(prepare_rows<InputForm::kBF16>);
    case InputForm::kF32:
      return run(prepare_rows<InputForm::kF32>);
  }
}

}  // namespace chatglm::kernels::cuda
