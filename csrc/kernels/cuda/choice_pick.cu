// The last step of a choice, a block for each row: what top-k, top-p and min-p leave of the listed
// columns, and which of it is drawn. Cuts are found by their digits, from the highest: counts, or
// sums of weights, of the scores with each next digit.
#include "kernels/cuda/choice_scores.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpLanes;
constexpr int kDigits = 256;
constexpr int kKept = 2048;  // listed columns that stay at hand; others are computed every time
static_assert(kMostChoiceColumns / kChoiceSegment <= kThreads, "a thread for each segment");

struct Shared {
  uint64_t weights[kKept];
  uint64_t partial[kWarps];
  uint64_t above, at;  // of the digit that was found
  uint32_t keys[kKept];
  uint32_t low[kDigits], high[kDigits];  // halves of sums
  int counts[kWarps];
  int digit;
  int position;
  int begins[kMostChoiceColumns / kChoiceSegment + 1];  // of the segments' parts of the list
};

struct Entry {
  uint32_t key;
  uint64_t weight;
};

// The columns that may be drawn, by their position in the row's list, which ascends by column.
class Listed {
 public:
  __device__ Listed(const ChoiceCall& call, const ChoiceRow& row, int index, const Temper& temper,
                    Shared& shared)
      : list_(call.list + int64_t{index} * call.segments * kChoiceSegment),
        segments_(call.segments),
        scores_(call, row, index),
        temper_(temper),
        shared_(shared) {}

  __device__ int size() const { return shared_.begins[segments_]; }
  __device__ int column(int position) const {
    int first = 0, end = segments_;  // the segment is one of these
    while (end - first > 1) {
      const int middle = (first + end) / 2;
      (shared_.begins[middle] <= position ? first : end) = middle;
    }
    return list_[int64_t{first} * kChoiceSegment + position - shared_.begins[first]];
  }
  __device__ Entry computed(int position) const {
    const float score = temper_.tempered(scores_.marked(column(position)));
    return {key_of(score), temper_.weight(score)};
  }
  __device__ Entry operator[](int position) const {
    if (position < num_kept_) return {shared_.keys[position], shared_.weights[position]};
    return computed(position);
  }
  // So that they are at hand.
  __device__ void keep() {
    num_kept_ = size() < kKept ? size() : kKept;
    for (int i = static_cast<int>(threadIdx.x); i < num_kept_; i += kThreads) {
      const Entry entry = computed(i);
      shared_.keys[i] = entry.key;
      shared_.weights[i] = entry.weight;
    }
    __syncthreads();
  }

 private:
  const int32_t* list_;  // (segments, kChoiceSegment)
  const int segments_;
  const RowScores scores_;
  const Temper& temper_;
  Shared& shared_;
  int num_kept_ = 0;
};

// What is left of the list: entries of higher keys, and those of this one from a position on.
struct Rest {
  uint32_t least_key = 0;
  int first_position = 0;
  uint64_t least_weight = 0;

  __device__ bool has(const Entry& entry, int position) const {
    if (entry.weight < least_weight) return false;
    return entry.key > least_key || (entry.key == least_key && position >= first_position);
  }
};

struct Cut {
  uint32_t key;
  uint64_t above, at;  // measure of the entries with a higher key, and with this one
};

// The highest key down to which the measure, one for each entry or its weight, reaches `limit`, of
// which there must be as much. Of the entries from least_key up.
template <bool kByWeight>
__device__ __forceinline__ Cut find_cut(const Listed& listed, uint32_t least_key, uint64_t limit,
                                        Shared& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  Cut cut{};
  for (int shift = 24; shift >= 0; shift -= 8) {
    if (thread < kDigits) shared.low[thread] = shared.high[thread] = 0;
    __syncthreads();
    for (int i = thread; i < listed.size(); i += kThreads) {
      const Entry entry = listed[i];
      if (entry.key < least_key) continue;
      if (shift < 24 && entry.key >> (shift + 8) != cut.key >> (shift + 8)) continue;
      const unsigned digit = entry.key >> shift & (kDigits - 1);
      if (kByWeight) {
        // Whose addition passes the end of the lower half carries into the upper one.
        const auto low = static_cast<uint32_t>(entry.weight);
        const uint32_t before = atomicAdd(&shared.low[digit], low);
        const uint32_t carry = before + low < before ? 1 : 0;
        const uint32_t high = static_cast<uint32_t>(entry.weight >> 32) + carry;
        if (high > 0) atomicAdd(&shared.high[digit], high);
      } else {
        atomicAdd(&shared.low[digit], 1u);
      }
    }
    __syncthreads();
    const int digit = kDigits - 1 - thread;  // from the highest down
    uint64_t at = 0;
    if (digit >= 0) at = uint64_t{shared.high[digit]} << 32 | shared.low[digit];
    const uint64_t reached = cut.above + block_scan(at, shared.partial).inclusive;
    if (at > 0 && reached >= limit && reached - at < limit) {
      shared.digit = digit;
      shared.above = reached - at;
      shared.at = at;
    }
    __syncthreads();
    cut.key |= static_cast<uint32_t>(shared.digit) << shift;
    cut.above = shared.above;
    cut.at = shared.at;
  }
  return cut;
}

// Sum of the weights that are left.
__device__ __forceinline__ uint64_t total_of(const Listed& listed, const Rest& rest,
                                             Shared& shared) {
  uint64_t sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < listed.size(); i += kThreads) {
    const Entry entry = listed[i];
    if (rest.has(entry, i)) sum += entry.weight;
  }
  return block_sum(sum, shared.partial);
}

// The position of the entry with this key that `skipped` others with it precede.
__device__ __forceinline__ int position_of(const Listed& listed, uint32_t key, uint64_t skipped,
                                           Shared& shared) {
  uint64_t seen = 0;
  for (int begin = 0; begin < listed.size() && seen <= skipped; begin += kThreads) {
    const int i = begin + static_cast<int>(threadIdx.x);
    const bool is_one = i < listed.size() && listed[i].key == key;
    const auto [inclusive, total] = block_scan(is_one ? 1 : 0, shared.counts);
    if (is_one && seen + static_cast<uint64_t>(inclusive) == skipped + 1) shared.position = i;
    seen += static_cast<uint64_t>(total);
  }
  __syncthreads();
  return shared.position;
}

// Keeps the likeliest, as long as what they leave has more than the share. Returns their weight.
__device__ __forceinline__ uint64_t keep_likeliest(const Listed& listed, double least_share,
                                                   uint64_t total, const Temper& temper, Rest& rest,
                                                   Shared& shared) {
  const auto least = static_cast<uint64_t>(least_share * static_cast<double>(total));
  const uint64_t limit = least < total ? total - least : 1;  // the likeliest always stays
  const Cut cut = find_cut<true>(listed, rest.least_key, limit, shared);
  rest.least_key = cut.key;
  const uint64_t weight = temper.weight(score_of(cut.key));
  const uint64_t ties = cut.at / weight;
  const uint64_t kept = (limit - cut.above + weight - 1) / weight;
  // Among equal ones the first go first.
  if (kept < ties) rest.first_position = position_of(listed, cut.key, ties - kept, shared);
  return cut.above + kept * weight;
}

// The least weight that is not less likely than min_p times the likeliest, in the host's f32.
__device__ __forceinline__ uint64_t least_weight(float min_p, uint64_t total) {
  const auto sum = static_cast<double>(total);
  const float threshold = min_p * static_cast<float>(kUnitWeight / sum);
  if (!(threshold > 0)) return 0;
  const float below = __uint_as_float(__float_as_uint(threshold) - 1);
  const double least = 0.5 * (static_cast<double>(threshold) + static_cast<double>(below)) * sum;
  const auto whole = static_cast<uint64_t>(least);
  return whole + (static_cast<double>(whole) < least ? 1 : 0);
}

// The entry at `target` of the running sum of weights, from the list's position `begin` on, where
// the sum is `sum`: its thread writes the choice.
__device__ __forceinline__ void draw(const Listed& listed, const Rest& rest, uint64_t target,
                                     int begin, uint64_t sum, int32_t* choice, Shared& shared) {
  for (; begin < listed.size() && sum <= target; begin += kThreads) {
    const int i = begin + static_cast<int>(threadIdx.x);
    uint64_t weight = 0;
    if (i < listed.size()) {
      const Entry entry = listed[i];
      if (rest.has(entry, i)) weight = entry.weight;
    }
    const auto [inclusive, total] = block_scan(weight, shared.partial);
    const uint64_t reached = sum + inclusive;
    if (reached > target && reached - weight <= target) *choice = listed.column(i);
    sum += total;
  }
}

__global__ void __launch_bounds__(kThreads, 1) pick_kernel(ChoiceCall call) {
  Shared& shared = shared_memory<Shared>();
  const int index = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  grid_dependency_wait();
  const ChoiceRow row = call.rows[index];
  int32_t* const choice = call.choices + index;
  const uint64_t best = row_best(call, index, shared.partial);
  if (!is_usable(best) || row.is_drawn == 0) {
    if (thread == 0) *choice = is_usable(best) ? column_of(best) : -1;
    return;
  }
  const bool is_segment = thread < call.segments;
  const int64_t own_segment = int64_t{index} * call.segments + thread;
  const int size = is_segment ? call.list_sizes[own_segment] : 0;
  const int end = block_scan(size, shared.counts).inclusive;
  if (thread == 0) shared.begins[0] = 0;
  if (is_segment) shared.begins[thread + 1] = end;
  __syncthreads();
  const uint64_t segment_weight = is_segment ? call.weights[own_segment] : 0;
  const auto [weight_end, all] = block_scan(segment_weight, shared.partial);

  const Temper temper(row, best);
  Listed listed(call, row, index, temper, shared);
  Rest rest;
  uint64_t total = all;
  const bool takes_all = row.top_k == 0 && row.least_share == 0 && row.min_p == 0;
  if (!takes_all) listed.keep();
  if (row.top_k > 0) {
    if (listed.size() > row.top_k) {
      const auto limit = static_cast<uint64_t>(row.top_k);
      rest.least_key = find_cut<false>(listed, 0, limit, shared).key;
    }
    total = total_of(listed, rest, shared);
  }
  if (row.least_share > 0) {
    total = keep_likeliest(listed, row.least_share, total, temper, rest, shared);
  }
  if (row.min_p > 0) {
    rest.least_weight = least_weight(row.min_p, total);
    total = total_of(listed, rest, shared);
  }
  // floor(uniform * total)
  const uint64_t target = __umul64hi(row.uniform, total) << 11 | row.uniform * total >> 53;
  if (!takes_all) return draw(listed, rest, target, 0, 0, choice, shared);
  // Nothing is at hand, but the segment is known.
  if (weight_end > target && weight_end - segment_weight <= target) {
    shared.position = end - size;
    shared.above = weight_end - segment_weight;
  }
  __syncthreads();
  draw(listed, rest, target, shared.position, shared.above, choice, shared);
}

}  // namespace

void pick_listed(const ChoiceCall& call, Stream stream, bool early) {
  launch_early(early, pick_kernel, dim3(static_cast<unsigned>(call.num_rows)), kThreads,
               sizeof(Shared), stream, call);
}

}  // namespace chatglm::kernels::cuda
