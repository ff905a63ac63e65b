// Products of one or two int8 rows with quantized weights by dp4a. A warp has kOutputs rows of the
// matrix and goes through them 32 blocks at a time, a block and so a strand (see gemv_codes.cuh)
// for each lane. The weights come through a ring of the warp's own in shared memory: plain loads
// into registers would wait for each other, because the compiler moves them to where they are used.
#include <cuda_runtime.h>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/gemv_codes.cuh"
#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/gemv_outputs.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"
#include "kernels/cuda/weight_forms.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpLanes;
static_assert(kStrands == kWarpLanes);

// What a warp multiplies in one step: 32 blocks of each of its rows.
template <typename Form, int kOutputs>
struct alignas(16) Stage {
  static constexpr bool kNibbles = Form::kForm.codes == Codes::kNibbles;
  static constexpr int kBlockChunks = kNibbles ? 1 : 2;  // 16 bytes each
  static constexpr int kChunks = kStrands * kBlockChunks;
  static constexpr int kParts = kStrands * BlockScales<Form>::kParts;
  static constexpr int kScaleChunks = kParts * (Form::kForm.half_scales ? 2 : 4) / 16;
  static constexpr int kMinimumChunks = Form::kForm.minimums ? kParts * 4 / 16 : 1;

  uint4 codes[kOutputs][kChunks];  // first all first halves of blocks, then all second ones
  uint4 scales[kOutputs][kScaleChunks];
  uint4 minimums[kOutputs][kMinimumChunks];
};

// Copies the scales of a warp's rows step by step, 16 bytes a lane.
template <int kOutputs, int kChunks>
struct ScaleFeed {
  static constexpr int kRowsAtOnce =
      kWarpLanes / kChunks < kOutputs ? kWarpLanes / kChunks : kOutputs;
  static_assert(kOutputs % kRowsAtOnce == 0);

  const std::byte* source;  // this lane's
  int64_t row_bytes;
  int left;  // 16 bytes from the source on

  __device__ __forceinline__ ScaleFeed(const std::byte* first_row, int64_t stride, int lane)
      : source(first_row + lane / kChunks * stride + lane % kChunks * 16),
        row_bytes(stride),
        left(static_cast<int>(stride / 16) - lane % kChunks) {}

  __device__ __forceinline__ void start(uint4 (&shared)[kOutputs][kChunks], int outputs, int lane) {
    if (lane < kRowsAtOnce * kChunks) {
#pragma unroll
      for (int o = 0; o < kOutputs; o += kRowsAtOnce) {
        const bool there = left > 0 && o + lane / kChunks < outputs;
        cp_async_16_zfill(&shared[o][0] + lane, source + o * row_bytes, there ? 16 : 0);
      }
    }
    source += kChunks * 16;
    left -= kChunks;
  }
};

// Copies all that a warp multiplies step by step.
template <typename Form, int kOutputs>
struct Feed {
  using Step = Stage<Form, kOutputs>;

  const std::byte* codes;  // this lane's
  int64_t codes_row_bytes;
  ScaleFeed<kOutputs, Step::kScaleChunks> scales;
  ScaleFeed<kOutputs, Step::kMinimumChunks> minimums;
  int left;     // 16 bytes from `codes` on
  int outputs;  // rows of the matrix, 1 to kOutputs
  int lane;

  __device__ __forceinline__ Feed(const DeviceWeight& weight, int64_t first_output, int own_lane)
      : codes(weight.codes + first_output * weight.codes_row_bytes + own_lane * 16),
        codes_row_bytes(weight.codes_row_bytes),
        scales(weight.scales + first_output * weight.scales_row_bytes, weight.scales_row_bytes,
               own_lane),
        minimums(weight.minimums + first_output * weight.minimums_row_bytes,
                 weight.minimums_row_bytes, own_lane),
        left(static_cast<int>(weight.codes_row_bytes / 16) - own_lane),
        outputs(static_cast<int>(min(weight.n - first_output, static_cast<int64_t>(kOutputs)))),
        lane(own_lane) {}

  // Starts to copy the next step; beyond the last one nothing is read.
  __device__ __forceinline__ void start(Step& step) {
#pragma unroll
    for (int i = 0; i < Step::kBlockChunks; ++i) {
      const int chunk = i * kWarpLanes + lane;
      const int place = chunk % Step::kBlockChunks * kStrands + chunk / Step::kBlockChunks;
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        const bool there = left > i * kWarpLanes && o < outputs;
        cp_async_16_zfill(&step.codes[o][place], codes + o * codes_row_bytes + i * kWarpLanes * 16,
                          there ? 16 : 0);
      }
    }
    codes += Step::kChunks * 16;
    left -= Step::kChunks;
    scales.start(step.scales, outputs, lane);
    if constexpr (Form::kForm.minimums) minimums.start(step.minimums, outputs, lane);
    cp_async_commit();
  }
};

__device__ __forceinline__ int dot_16(const uint4& a, const uint4& b, int sum) {
  sum = __dp4a(static_cast<int>(a.x), static_cast<int>(b.x), sum);
  sum = __dp4a(static_cast<int>(a.y), static_cast<int>(b.y), sum);
  sum = __dp4a(static_cast<int>(a.z), static_cast<int>(b.z), sum);
  return __dp4a(static_cast<int>(a.w), static_cast<int>(b.w), sum);
}

// A block of one row of the matrix.
template <typename Form>
struct Block {
  uint4 first, second;  // halves of the codes as bytes
  BlockScales<Form> scales;

  template <int kOutputs>
  __device__ __forceinline__ void load(const Stage<Form, kOutputs>& stage, int output, int lane) {
    const uint4 w = stage.codes[output][lane];
    if constexpr (Stage<Form, kOutputs>::kNibbles) {
      first = make_uint4(low_nibbles(w.x), low_nibbles(w.y), low_nibbles(w.z), low_nibbles(w.w));
      second =
          make_uint4(high_nibbles(w.x), high_nibbles(w.y), high_nibbles(w.z), high_nibbles(w.w));
    } else {
      first = w;
      second = stage.codes[output][kStrands + lane];
    }
    scales.load(reinterpret_cast<const std::byte*>(stage.scales[output]),
                reinterpret_cast<const std::byte*>(stage.minimums[output]), lane);
  }
};

template <typename Form, int kOutputs>
struct Shared {
  static constexpr int kStages = Form::kForm.codes == Codes::kNibbles ? 4 : 3;
  Stage<Form, kOutputs> ring[kWarps][kStages];
  std::byte* cached[kWarps][kRowwiseInputs];  // see gemv_outputs.cuh
};

// Grid: (groups of kWarps * kOutputs outputs). kInputs: rows of x, as many as args.m.
template <typename Form, int kInputs, int kOutputs>
__global__ void __launch_bounds__(kThreads, kOutputs == 2 ? 7 : 6)
    multiply_rowwise(ProductArgs args, HeadOutputs heads) {
  using Memory = Shared<Form, kOutputs>;
  Memory& shared = shared_memory<Memory>();
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const DeviceWeight& weight = args.weight;
  const int64_t first_output = (static_cast<int64_t>(blockIdx.x) * kWarps + warp) * kOutputs;
  if (first_output >= weight.n) return;  // no barrier is for the whole block

  grid_dependency_trigger();
  Feed<Form, kOutputs> feed(weight, first_output, lane);
  auto& ring = shared.ring[warp];
#pragma unroll
  for (int i = 0; i < Memory::kStages - 1; ++i) feed.start(ring[i]);
  // Barriers of the loop stand between this and its use.
  if (are_heads(heads) && lane < kInputs) {
    shared.cached[warp][lane] = stored_row(heads.cache, lane);
  }
  grid_dependency_wait();  // weights are nobody's output

  const int blocks = static_cast<int>(weight.k / kInputBlock);
  const int64_t input_bytes = Int8Row::bytes(blocks);
  auto* const x = static_cast<std::byte*>(const_cast<void*>(args.x));
  float sums[kOutputs][kInputs] = {};
  int filled = Memory::kStages - 1, next = 0;  // places in the ring
  for (int block = lane; block < blocks + lane; block += kStrands) {
    // Behind this barrier the warp's copies are there, and the stage before is free.
    cp_async_wait<Memory::kStages - 2>();
    __syncwarp();
    feed.start(ring[filled]);
    const Stage<Form, kOutputs>& stage = ring[next];
    filled = next;
    next = next + 1 < Memory::kStages ? next + 1 : 0;
    if (block >= blocks) continue;

    Block<Form> opened[kOutputs];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) opened[o].load(stage, o, lane);
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      const Int8Row row{x + i * input_bytes, blocks};
      const uint4 first = *row.half_block(block, 0), second = *row.half_block(block, 1);
      const BlockStep step = row.steps()[block];
      const int first_more = correction<Form>(step.first_sum());
      const int second_more = correction<Form>(step.second_sum());
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        const int first_dot = dot_16(opened[o].first, first, first_more);
        const int second_dot = dot_16(opened[o].second, second, second_more);
        sums[o][i] = opened[o].scales.add(sums[o][i], first_dot, second_dot, step);
      }
    }
  }
  cp_async_wait<0>();

  // Lane o * kInputs + i writes output o of row i.
  float own = 0;
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
#pragma unroll
    for (int i = 0; i < kInputs; ++i) {
      float sum = sums[o][i];
#pragma unroll
      for (int apart = 1; apart < kStrands; apart *= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, apart);
      }
      if (lane == o * kInputs + i) own = sum;
    }
  }
  const int row = lane % kInputs;
  finish_output<kInputs>(args, heads, row, first_output + lane / kInputs, own,
                         lane < feed.outputs * kInputs, shared.cached[warp][row]);
}

template <typename Form, int kInputs, int kOutputs>
void run(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  constexpr int64_t kBlockOutputs = kWarps * kOutputs;
  const auto blocks = static_cast<unsigned>((args.weight.n + kBlockOutputs - 1) / kBlockOutputs);
  launch_early(early, multiply_rowwise<Form, kInputs, kOutputs>, dim3(blocks), kThreads,
               sizeof(Shared<Form, kOutputs>), stream, args, heads);
}

// Nibbles take more instructions a byte, fewer where a warp has more rows; if that leaves warps
// enough for a large GPU (24 for each of 132 multiprocessors).
constexpr int64_t kManyOutputs = 12288;

template <typename Form, int kInputs>
void run_inputs(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  if constexpr (Form::kForm.codes == Codes::kNibbles) {
    if (args.weight.n >= kManyOutputs) return run<Form, kInputs, 4>(args, heads, stream, early);
  }
  run<Form, kInputs, 2>(args, heads, stream, early);
}

}  // namespace

void gemv_rowwise(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  static_assert(kRowwiseInputs == 2);
  QuantizedForms::call(args.weight.form, [&]<typename Form>() {
    if (args.m == 1) return run_inputs<Form, 1>(args, heads, stream, early);
    run_inputs<Form, 2>(args, heads, stream, early);
  });
}

}  // namespace chatglm::kernels::cuda
