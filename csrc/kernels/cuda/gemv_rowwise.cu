// Products of one or two int8 rows with quantized weights by dp4a. A warp has kOutputs rows of the
// matrix; its lanes have neighbouring blocks, so that each of its loads is 512 consecutive bytes.
// Loads of kUnroll steps are under way at once.
#include <cuda_runtime.h>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/gemv_codes.cuh"
#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/weight_forms.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 128;

__device__ __forceinline__ int dot_16(const uint4& a, const uint4& b, int sum) {
  sum = __dp4a(static_cast<int>(a.x), static_cast<int>(b.x), sum);
  sum = __dp4a(static_cast<int>(a.y), static_cast<int>(b.y), sum);
  sum = __dp4a(static_cast<int>(a.z), static_cast<int>(b.z), sum);
  return __dp4a(static_cast<int>(a.w), static_cast<int>(b.w), sum);
}

// Which blocks and codes of a step (32 blocks) are this lane's. Beyond the last block it repeats
// that one, whose sums are then not taken. Nibbles: a lane loads the 16 bytes of its own block.
template <Codes kCodes>
struct LaneCodes {
  static constexpr int kLoads = 1;
  static constexpr int kNeighbour = 1;  // distance of the lanes with neighbouring strands

  __device__ static int strand(int lane) { return lane; }
  // Of kLoads times 16 bytes at block `first`.
  __device__ static void load(const std::byte* codes, int64_t first, int64_t blocks, int lane,
                              uint4 (&loaded)[kLoads]) {
    loaded[0] =
        load_streaming(reinterpret_cast<const uint4*>(codes) + min(first + lane, blocks - 1));
  }

  uint4 low[1], high[1];
  __device__ void open(const uint4 (&loaded)[kLoads]) {
    const uint4& w = loaded[0];
    low[0] = make_uint4(low_nibbles(w.x), low_nibbles(w.y), low_nibbles(w.z), low_nibbles(w.w));
    high[0] =
        make_uint4(high_nibbles(w.x), high_nibbles(w.y), high_nibbles(w.z), high_nibbles(w.w));
  }

  struct Inputs {
    uint4 first, second;
    __device__ void load(const Int8Row& x, int64_t first_block, int64_t blocks, int lane) {
      const int64_t block = min(first_block + lane, blocks - 1);
      first = *x.half_block(block, 0);
      second = *x.half_block(block, 1);
    }
  };
  // Dot products of the halves of the lane's block.
  __device__ void dot(const Inputs& x, int, int& first, int& second) const {
    first = dot_16(low[0], x.first, 0);
    second = dot_16(high[0], x.second, 0);
  }
};

// Bytes: in each of two loads a lane has half a block; pairs of lanes then exchange the sums that
// belong to the other's block.
template <>
struct LaneCodes<Codes::kBytes> {
  static constexpr int kLoads = 2;
  static constexpr int kNeighbour = 2;

  __device__ static int strand(int lane) { return lane / 2 + lane % 2 * 16; }
  __device__ static void load(const std::byte* codes, int64_t first, int64_t blocks, int lane,
                              uint4 (&loaded)[kLoads]) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      loaded[i] = load_streaming(reinterpret_cast<const uint4*>(codes) +
                                 min(2 * first + i * kWarpLanes + lane, 2 * blocks - 1));
    }
  }

  uint4 halves[kLoads];
  __device__ void open(const uint4 (&loaded)[kLoads]) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) halves[i] = loaded[i];
  }

  struct Inputs {
    uint4 halves[kLoads];
    __device__ void load(const Int8Row& x, int64_t first_block, int64_t blocks, int lane) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const int64_t block = min(first_block + i * kWarpLanes / 2 + lane / 2, blocks - 1);
        halves[i] = *x.half_block(block, lane % 2);
      }
    }
  };
  __device__ void dot(const Inputs& x, int lane, int& first, int& second) const {
    const int even = dot_16(halves[0], x.halves[0], 0), odd = dot_16(halves[1], x.halves[1], 0);
    const bool is_odd = lane % 2 != 0;
    const int other = __shfl_xor_sync(kAllLanes, is_odd ? even : odd, 1);
    first = is_odd ? other : even;
    second = is_odd ? odd : other;
  }
};

// Grid: (warps' groups of outputs). kInputs: rows of x that are computed; args.m or more.
template <typename Form, int kInputs, int kOutputs, int kUnroll>
__global__ void __launch_bounds__(kThreads) multiply_rowwise(ProductArgs args) {
  constexpr WeightForm kForm = Form::kForm;
  using Lane = LaneCodes<kForm.codes>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int64_t warp = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarpLanes;
  const int64_t first_output = warp * kOutputs;
  const DeviceWeight& weight = args.weight;
  if (first_output >= weight.n) return;

  const int64_t blocks = weight.k / kInputBlock;
  const std::byte *codes[kOutputs], *scale_rows[kOutputs], *minimum_rows[kOutputs];
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
    const int64_t output = min(first_output + o, weight.n - 1);
    codes[o] = weight.codes + output * weight.codes_row_bytes;
    scale_rows[o] = weight.scales + output * weight.scales_row_bytes;
    minimum_rows[o] =
        kForm.minimums ? weight.minimums + output * weight.minimums_row_bytes : nullptr;
  }
  Int8Row x[kInputs];
#pragma unroll
  for (int i = 0; i < kInputs; ++i) {
    const int64_t row = min(static_cast<int64_t>(i), args.m - 1);
    x[i] = {static_cast<std::byte*>(const_cast<void*>(args.x)) + row * Int8Row::bytes(blocks),
            blocks};
  }

  uint4 loaded[kUnroll][kOutputs][Lane::kLoads];
  BlockScales<Form> scales[kUnroll][kOutputs];
  const auto load = [&](int64_t first) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t from = first + u * kStrands;
      const int64_t block = min(from + Lane::strand(lane), blocks - 1);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        Lane::load(codes[o], from, blocks, lane, loaded[u][o]);
        scales[u][o].load(scale_rows[o], minimum_rows[o], block);
      }
    }
  };

  float sums[kOutputs][kInputs] = {};
  load(0);
  for (int64_t first = 0;;) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t from = first + u * kStrands;
      const bool there = from + Lane::strand(lane) < blocks;
      Lane opened[kOutputs];
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) opened[o].open(loaded[u][o]);
#pragma unroll
      for (int i = 0; i < kInputs; ++i) {
        typename Lane::Inputs inputs;
        inputs.load(x[i], from, blocks, lane);
        const BlockStep step = x[i].steps()[min(from + Lane::strand(lane), blocks - 1)];
        const int first_more = correction<Form>(step.first_sum());
        const int second_more = correction<Form>(step.second_sum());
#pragma unroll
        for (int o = 0; o < kOutputs; ++o) {
          int first_dot, second_dot;
          opened[o].dot(inputs, lane, first_dot, second_dot);
          const float sum =
              scales[u][o].add(sums[o][i], first_dot + first_more, second_dot + second_more, step);
          sums[o][i] = there ? sum : sums[o][i];
        }
      }
    }
    first += kUnroll * kStrands;
    if (first >= blocks) break;
    load(first);
  }

#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      float sum = sums[o][i];
#pragma unroll
      for (int step = Lane::kNeighbour; step < kWarpLanes; step *= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, step);
      }
      if constexpr (Lane::kNeighbour == 2) sum += __shfl_xor_sync(kAllLanes, sum, 1);
      if (lane == o * kInputs + i && i < args.m && first_output + o < weight.n) {
        finish_output(args, i, first_output + o, sum);
      }
    }
  }
}

template <typename Form, int kInputs, int kOutputs, int kUnroll>
void run(const ProductArgs& args, Stream stream) {
  constexpr int64_t kBlockOutputs = kThreads / kWarpLanes * kOutputs;
  const auto blocks = static_cast<unsigned>((args.weight.n + kBlockOutputs - 1) / kBlockOutputs);
  launch(multiply_rowwise<Form, kInputs, kOutputs, kUnroll>, dim3(blocks), kThreads, 0, stream,
         args);
}

template <typename Form>
void run_form(const ProductArgs& args, Stream stream) {
  constexpr int kBytes = Form::kForm.codes == Codes::kBytes ? 2 : 1;
  if (args.m == 1) return run<Form, 1, 2, 4 / kBytes>(args, stream);
  run<Form, 2, 2, 4 / kBytes>(args, stream);
}

}  // namespace

void gemv_rowwise(const ProductArgs& args, Stream stream) {
  QuantizedForms::call(args.weight.form, [&]<typename Form>() { run_form<Form>(args, stream); });
}

}  // namespace chatglm::kernels::cuda
