// Products of 3 to 16 int8 rows with quantized weights on the tensor cores. A block has 32 rows of
// the matrix; each of its eight warps has four neighbouring strands of theirs (see gemv_codes.cuh)
// and copies their codes, scales and minimums through a ring of its own in shared memory: warps
// wait for each other at the end only, when their strands are added.
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

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpLanes;
constexpr int kTileOutputs = 16;
constexpr int kTiles = 2;
constexpr int kOutputs = kTiles * kTileOutputs;
constexpr int kStepBlocks = kStrands / kWarps;  // of a warp, of the 32 of all
constexpr int kMaxStages = 4;
constexpr int kRingBytes = 96 * 1024;  // fits into every architecture's shared memory

// What a warp multiplies in one step.
template <typename Form>
struct alignas(16) Stage {
  static constexpr bool kNibbles = Form::kForm.codes == Codes::kNibbles;
  static constexpr int kChunks = kStepBlocks * (kNibbles ? 1 : 2);  // 16 bytes each, of a row
  // Scales come 16 bytes at a time; those of 8 blocks where four have less.
  static constexpr int kScaleBlocks = Form::kForm.half_scales ? 2 * kStepBlocks : kStepBlocks;
  static constexpr int kParts = kScaleBlocks * BlockScales<Form>::kParts;
  static constexpr int kScaleBytes = kParts * (Form::kForm.half_scales ? 2 : 4);
  static constexpr int kMinimumBytes = Form::kForm.minimums ? kParts * 4 : 0;
  static_assert(kScaleBytes % 16 == 0);
  static_assert(!Form::kForm.half_scales || BlockScales<Form>::kParts == 1);

  uint4 codes[kOutputs][kChunks];
  alignas(16) std::byte scales[kOutputs][kScaleBytes];
  alignas(16)
      std::byte minimums[kMinimumBytes > 0 ? kOutputs : 1][kMinimumBytes > 0 ? kMinimumBytes : 16];

  // Chunks of neighbouring rows lie in different banks.
  __device__ __forceinline__ uint4* chunk(int row, int index) {
    return &codes[row][index ^ (kNibbles ? row / 2 : row) % kChunks];
  }
};

constexpr int num_stages(int stage_bytes) {
  const int fitting = kRingBytes / (stage_bytes * kWarps);
  return fitting < kMaxStages ? fitting : kMaxStages;
}

template <typename Form, int kGroups>
struct Shared {
  static constexpr int kStages = num_stages(sizeof(Stage<Form>));
  static_assert(kStages >= 2);
  // On one multiprocessor: 128 registers a thread are too few for some instances.
  static constexpr int kBlocks =
      kGroups == 1 && (Stage<Form>::kNibbles || !Form::kForm.minimums) ? 2 : 1;
  // More than there are rows, so that the lanes of a warp write to different banks.
  static constexpr int kSumRows = kOutputs + 4;
  union {
    Stage<Form> ring[kWarps][kStages];
    float sums[kWarps][kGroups * kGroupInputs][kSumRows];  // when the ring is done
  };
  std::byte* cached[kGroups * kGroupInputs];  // see gemv_outputs.cuh
};

template <int kBytes>
__device__ __forceinline__ void copy_scales(std::byte* shared, const std::byte* global, int bytes) {
  static_assert(kBytes % 16 == 0);
#pragma unroll
  for (int i = 0; i < kBytes; i += 16) cp_async_16_zfill(shared + i, global + i, bytes);
}

// Copies the block's rows step by step; of those beyond the last, zeros.
template <typename Form>
struct Feed {
  using Parts = Stage<Form>;
  static constexpr int kBlockChunks = Parts::kChunks / kStepBlocks;
  static constexpr int kRowsAtOnce = kWarpLanes / Parts::kChunks;
  static constexpr int kScaleStepBytes = kStrands / Parts::kScaleBlocks * Parts::kScaleBytes;
  static constexpr int kMinimumStepBytes = kStrands / Parts::kScaleBlocks * Parts::kMinimumBytes;
  static_assert(kOutputs == kWarpLanes);

  int row, index;  // of the first chunk that this lane copies
  int lane;        // the row whose scales it copies
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* minimums;
  int64_t codes_row_bytes;
  int rows;  // of the block
  int left;  // blocks of a row from the warp's next step on

  __device__ __forceinline__ Feed(const DeviceWeight& weight, int64_t first_output, int warp,
                                  int own_lane)
      : row(own_lane / Parts::kChunks),
        index(own_lane % Parts::kChunks),
        lane(own_lane),
        codes(weight.codes + (first_output + row) * weight.codes_row_bytes +
              (warp * Parts::kChunks + index) * 16),
        scales(weight.scales + (first_output + lane) * weight.scales_row_bytes +
               warp * kStepBlocks / Parts::kScaleBlocks * Parts::kScaleBytes),
        minimums(weight.minimums + (first_output + lane) * weight.minimums_row_bytes +
                 warp * kStepBlocks / Parts::kScaleBlocks * Parts::kMinimumBytes),
        codes_row_bytes(weight.codes_row_bytes),
        rows(static_cast<int>(min(weight.n - first_output, static_cast<int64_t>(kOutputs)))),
        left(static_cast<int>(weight.k / kInputBlock) - warp * kStepBlocks) {}

  // Starts to copy the next step; beyond the last block nothing is read.
  __device__ __forceinline__ void start(Parts& stage) {
    const bool there = left > index / kBlockChunks;
#pragma unroll
    for (int i = 0; i < kOutputs; i += kRowsAtOnce) {
      cp_async_16_zfill(stage.chunk(row + i, index), codes + i * codes_row_bytes,
                        there && row + i < rows ? 16 : 0);
    }
    // Rows of scales are filled up, so that there are always as many.
    const int bytes = left > 0 && lane < rows ? 16 : 0;
    copy_scales<Parts::kScaleBytes>(stage.scales[lane], scales, bytes);
    if constexpr (Form::kForm.minimums) {
      copy_scales<Parts::kMinimumBytes>(stage.minimums[lane], minimums, bytes);
    }
    cp_async_commit();
    codes += kStrands * kBlockChunks * 16;
    scales += kScaleStepBytes;
    minimums += kMinimumStepBytes;
    left -= kStrands;
  }
};

// The inputs that a lane multiplies with a block.
template <int kGroups>
struct Inputs {
  uint2 codes[kGroups];
  BlockStep steps[kGroups][2];  // of its two columns

  __device__ __forceinline__ void load(const Int8Groups& x, int block, int lane) {
    block = min(block, static_cast<int>(x.blocks) - 1);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      codes[group] = x.fragments(block, group)[lane];
      const uint4 two = reinterpret_cast<const uint4*>(x.steps(block, group))[lane % 4];
      steps[group][0] = {__uint_as_float(two.x), two.y};
      steps[group][1] = {__uint_as_float(two.z), two.w};
    }
  }
};

// Codes of a block of all tiles as first operands.
template <typename Form>
__device__ __forceinline__ void load_codes(Stage<Form>& stage, int block, int lane,
                                           uint32_t (&a)[kTiles][4]) {
  static_assert(kOutputs == kWarpLanes);
  uint32_t first[4], second[4];  // halves of the block, eight rows each
  if constexpr (Stage<Form>::kNibbles) {
    uint32_t both[4];
    ldmatrix_x4(both, stage.chunk(lane, block));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      first[i] = low_nibbles(both[i]);
      second[i] = high_nibbles(both[i]);
    }
  } else {
    ldmatrix_x4(first, stage.chunk(lane, 2 * block));
    ldmatrix_x4(second, stage.chunk(lane, 2 * block + 1));
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    a[tile][0] = first[2 * tile];
    a[tile][1] = first[2 * tile + 1];
    a[tile][2] = second[2 * tile];
    a[tile][3] = second[2 * tile + 1];
  }
}

// One block's step of the strands of a tile: rows lane / 4 and 8 more, columns 2 (lane % 4) and the
// next.
template <typename Form>
__device__ __forceinline__ void add_block(const uint32_t (&a)[4], const uint2& x,
                                          const BlockStep (&steps)[2],
                                          const BlockScales<Form> (&scales)[2],
                                          float (&strands)[4]) {
  const uint32_t b[2] = {x.x, x.y};
  int32_t first[4], second[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    first[i] = correction<Form>(steps[i % 2].first_sum());
    second[i] = correction<Form>(steps[i % 2].second_sum());
  }
  if constexpr (BlockScales<Form>::kParts == 1) {
#pragma unroll
    for (int i = 0; i < 4; ++i) first[i] += second[i];
    mma_s8_16x8x32(first, a, b);
#pragma unroll
    for (int i = 0; i < 4; ++i) second[i] = 0;
  } else {
    const uint32_t first_half[4] = {a[0], a[1], 0, 0}, second_half[4] = {0, 0, a[2], a[3]};
    mma_s8_16x8x32(first, first_half, b);
    mma_s8_16x8x32(second, second_half, b);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    strands[i] = scales[i / 2].add(strands[i], first[i], second[i], steps[i % 2]);
  }
}

// Grid: (groups of kOutputs outputs). kGroups: of 8 rows of x.
template <typename Form, int kGroups>
__global__ void __launch_bounds__(kThreads, Shared<Form, kGroups>::kBlocks)
    multiply_grouped(ProductArgs args, HeadOutputs heads) {
  using Memory = Shared<Form, kGroups>;
  Memory& shared = shared_memory<Memory>();
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const DeviceWeight& weight = args.weight;
  const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kOutputs;
  const int blocks = static_cast<int>(weight.k / kInputBlock);
  const int warp_block = warp * kStepBlocks;
  const Int8Groups x{static_cast<std::byte*>(const_cast<void*>(args.x)), blocks, kGroups};
  Stage<Form>* const ring = shared.ring[warp];
  Feed<Form> feed(weight, first_output, warp, lane);

  grid_dependency_trigger();
#pragma unroll
  for (int i = 0; i < Memory::kStages - 1; ++i) feed.start(ring[i]);
  if (are_heads(heads) && threadIdx.x < static_cast<unsigned>(args.m)) {
    shared.cached[threadIdx.x] = stored_row(heads.cache, threadIdx.x);
  }
  grid_dependency_wait();  // weights are nobody's output

  Inputs<kGroups> inputs;  // of the block that comes next
  inputs.load(x, warp_block, lane);
  float strands[kStepBlocks][kTiles][kGroups][4] = {};
  int filled = Memory::kStages - 1, next = 0;  // places in the ring
  const int first_scale = warp_block % Stage<Form>::kScaleBlocks;
  for (int first = warp_block; first < blocks; first += kStrands) {
    // Behind this barrier the warp's copies are there, and the stage before is free.
    cp_async_wait<Memory::kStages - 2>();
    __syncwarp();
    feed.start(ring[filled]);
    Stage<Form>& stage = ring[next];
    filled = next;
    next = next + 1 < Memory::kStages ? next + 1 : 0;
#pragma unroll
    for (int s = 0; s < kStepBlocks; ++s) {
      if (first + s >= blocks) break;
      const Inputs<kGroups> now = inputs;
      inputs.load(x, s + 1 < kStepBlocks ? first + s + 1 : first + kStrands, lane);
      uint32_t a[kTiles][4];
      load_codes(stage, s, lane, a);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        BlockScales<Form> scales[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = tile * kTileOutputs + half * 8 + lane / 4;
          scales[half].load(stage.scales[row], stage.minimums[Form::kForm.minimums ? row : 0],
                            first_scale + s);
        }
#pragma unroll
        for (int group = 0; group < kGroups; ++group) {
          add_block<Form>(a[tile], now.codes[group], now.steps[group], scales,
                          strands[s][tile][group]);
        }
      }
    }
  }

  cp_async_wait<0>();
  __syncthreads();
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = tile * kTileOutputs + i / 2 * 8 + lane / 4;
        const int column = group * kGroupInputs + lane % 4 * 2 + i % 2;
        shared.sums[warp][column][row] = (strands[0][tile][group][i] + strands[1][tile][group][i]) +
                                         (strands[2][tile][group][i] + strands[3][tile][group][i]);
      }
    }
  }
  __syncthreads();
  for (int column = warp; column < kGroups * kGroupInputs; column += kWarps) {
    float sums[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sums[w] = shared.sums[w][column][lane];
    const float sum =
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    if (column >= args.m) break;
    finish_output<1>(args, heads, column, first_output + lane, sum, first_output + lane < weight.n,
                     shared.cached[column]);
  }
}

template <typename Form, int kGroups>
void run(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  const auto blocks = static_cast<unsigned>((args.weight.n + kOutputs - 1) / kOutputs);
  launch_early(early, multiply_grouped<Form, kGroups>, dim3(blocks), kThreads,
               sizeof(Shared<Form, kGroups>), stream, args, heads);
}

}  // namespace

void gemv_grouped(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  QuantizedForms::call(args.weight.form, [&]<typename Form>() {
    if (args.m <= kGroupInputs) return run<Form, 1>(args, heads, stream, early);
    run<Form, 2>(args, heads, stream, early);
  });
}

}  // namespace chatglm::kernels::cuda
