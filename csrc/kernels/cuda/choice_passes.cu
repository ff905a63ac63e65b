// The passes of a choice over whole rows, with a block for each segment of a row: the highest
// score; how many scores lie how far below it; a list of those that may be drawn. Where the list
// ends is told from bounds of what a bin weighs, so it may hold more than is left in the end, but
// no less.
#include "kernels/cuda/choice_scores.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kRounds = kChoiceSegment / kThreads;  // columns of a thread, kThreads apart
static_assert(kThreads == kChoiceBins, "a thread for each bin");
// What the bounds of weights may be off by rounding, and far more.
constexpr double kSlack = 1e-4;

__global__ void __launch_bounds__(kThreads) mark_kernel(ChoiceCall call) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i >= call.num_marks) return;
  const ChoiceMark mark = call.marks[i];
  uint32_t* const bitmap = call.bitmaps + int64_t{mark.bitmap} * call.bitmap_words;
  atomicOr(&bitmap[mark.column >> 5], 1u << (mark.column & 31));
}

struct HighestShared {
  uint64_t partial[kWarps];
};

__global__ void __launch_bounds__(kThreads) highest_kernel(ChoiceCall call) {
  grid_dependency_trigger();
  HighestShared& shared = shared_memory<HighestShared>();
  const int segment = static_cast<int>(blockIdx.x), index = static_cast<int>(blockIdx.y);
  const RowScores scores(call, call.rows[index], index);
  const int begin = segment * kChoiceSegment + static_cast<int>(threadIdx.x);
  if (segment == 0) call.bins[int64_t{index} * kChoiceBins + threadIdx.x] = 0;
  uint64_t best = 0;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int column = begin + round * kThreads;
    if (column >= call.columns) continue;
    const bool is_number = scores.plain(column) <= 3.402823466e38f;
    const uint64_t own = is_number ? best_of(scores.marked(column), column) : kUnusable;
    if (own > best) best = own;
  }
  best = block_max(best, shared.partial);
  if (threadIdx.x == 0) call.best[int64_t{index} * call.segments + segment] = best;
}

struct CountShared {
  uint64_t partial[kWarps];
  uint32_t bins[kChoiceBins];
};

// difference: below the highest score, not negative.
__device__ __forceinline__ int bin_of(float difference) {
  return static_cast<int>(fminf(difference * kChoiceBinsPerUnit, kChoiceBins - 1));
}

__global__ void __launch_bounds__(kThreads) count_kernel(ChoiceCall call) {
  grid_dependency_trigger();
  CountShared& shared = shared_memory<CountShared>();
  const int segment = static_cast<int>(blockIdx.x), index = static_cast<int>(blockIdx.y);
  grid_dependency_wait();
  const ChoiceRow row = call.rows[index];
  if (row.is_drawn == 0 || (row.top_k == 0 && row.least_share == 0)) return;
  const uint64_t best = row_best(call, index, shared.partial);
  if (!is_usable(best)) return;
  const RowScores scores(call, row, index);
  const Temper temper(row, best);
  shared.bins[threadIdx.x] = 0;
  __syncthreads();
  const int begin = segment * kChoiceSegment + static_cast<int>(threadIdx.x);
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int column = begin + round * kThreads;
    if (column >= call.columns) continue;
    const float score = temper.tempered(scores.marked(column));
    if (score > minus_infinite_score()) {
      atomicAdd(&shared.bins[bin_of(temper.highest() - score)], 1u);
    }
  }
  __syncthreads();
  const uint32_t count = shared.bins[threadIdx.x];
  if (count > 0) atomicAdd(&call.bins[int64_t{index} * kChoiceBins + threadIdx.x], count);
}

struct ListShared {
  uint64_t partial[kWarps];
  double masses[kWarps];
  int counts[kWarps];
  int kept[kRounds][kWarps];
};

// The last bin of which something may be drawn. Every thread gets it.
__device__ __forceinline__ int last_bin(const ChoiceCall& call, const ChoiceRow& row, int index,
                                        ListShared& shared) {
  const uint32_t* const bins = call.bins + int64_t{index} * kChoiceBins;
  const int thread = static_cast<int>(threadIdx.x);
  const double nearest = exp(-static_cast<double>(thread) / kChoiceBinsPerUnit);
  bool may_be_drawn = true;
  if (row.top_k > 0) {
    const auto count = static_cast<int>(bins[thread]);
    may_be_drawn = block_scan(count, shared.counts).inclusive - count < row.top_k;
  } else if (row.least_share > 0) {
    // From the last bin on: what a bin and all behind it weigh at most; and what all weigh at
    // least.
    const int bin = kChoiceBins - 1 - thread;
    const double most = bins[bin] * exp(-static_cast<double>(bin) / kChoiceBinsPerUnit);
    const double mass = block_scan(most, shared.masses).inclusive;
    const double lowered =
        thread == 0 ? 0 : most * exp(-1.0 / kChoiceBinsPerUnit);  // the last has no end
    double total = block_sum(lowered, shared.masses);
    if (total < 1) total = 1;
    may_be_drawn = bin == 0 || mass > row.least_share * total * (1 - kSlack);
  } else if (row.min_p > 0) {
    may_be_drawn = thread == 0 || nearest * (1 + kSlack) >= row.min_p;
  }
  return block_sum(may_be_drawn ? 1 : 0, shared.counts) - 1;
}

__global__ void __launch_bounds__(kThreads) list_kernel(ChoiceCall call) {
  grid_dependency_trigger();
  ListShared& shared = shared_memory<ListShared>();
  const int segment = static_cast<int>(blockIdx.x), index = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  grid_dependency_wait();
  const ChoiceRow row = call.rows[index];
  if (row.is_drawn == 0) return;
  const uint64_t best = row_best(call, index, shared.partial);
  if (!is_usable(best)) return;
  const RowScores scores(call, row, index);
  const Temper temper(row, best);
  const int last = last_bin(call, row, index, shared);

  const int begin = segment * kChoiceSegment + static_cast<int>(threadIdx.x);
  uint64_t weight = 0;
  unsigned kept[kRounds];  // of the warp's columns
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const int column = begin + round * kThreads;
    const float score =
        column < call.columns ? temper.tempered(scores.marked(column)) : minus_infinite_score();
    const bool is_possible = score > minus_infinite_score();
    const bool is_kept = is_possible && bin_of(temper.highest() - score) <= last;
    // Of the highest scores alone the sum is taken later.
    if (is_possible && row.top_k == 0) weight += temper.weight(score);
    kept[round] = __ballot_sync(kAllLanes, is_kept);
    if (lane == 0) shared.kept[round][warp] = __popc(kept[round]);
  }
  weight = block_sum(weight, shared.partial);
  int place =
      0;  // of the warp's first in this round: behind all rounds before, and warps before it
  int32_t* const list = call.list + (int64_t{index} * call.segments + segment) * kChoiceSegment;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    int own = place;
    for (int other = 0; other < kWarps; ++other) {
      if (other < warp) own += shared.kept[round][other];
      place += shared.kept[round][other];
    }
    if ((kept[round] >> lane & 1) == 0) continue;
    list[own + __popc(kept[round] & ((1u << lane) - 1))] = begin + round * kThreads;
  }
  if (threadIdx.x == 0) {
    call.list_sizes[int64_t{index} * call.segments + segment] = place;
    call.weights[int64_t{index} * call.segments + segment] = weight;
  }
}

}  // namespace

void choose(const ChoiceArgs& args, bool any_drawn, Stream stream, bool early) {
  if (args.num_rows == 0) return;
  const ChoiceCall call = choice_call(args);
  if (call.num_marks > 0) {
    launch(mark_kernel, dim3(static_cast<unsigned>((call.num_marks + kThreads - 1) / kThreads)),
           kThreads, 0, stream, call);
  }
  const dim3 grid(static_cast<unsigned>(call.segments), static_cast<unsigned>(call.num_rows));
  launch(highest_kernel, grid, kThreads, sizeof(HighestShared), stream, call);
  if (any_drawn) {
    launch_early(early, count_kernel, grid, kThreads, sizeof(CountShared), stream, call);
    launch_early(early, list_kernel, grid, kThreads, sizeof(ListShared), stream, call);
  }
  pick_listed(call, stream, early);
}

}  // namespace chatglm::kernels::cuda
