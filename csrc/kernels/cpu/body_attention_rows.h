// The product rows of an attention task, and everything that is done to them whatever computes
// their products: which slots they see, the online softmax, and the partitions, which are merged in
// ascending order.
//
// Product rows stand in panels of one or two vectors, one row a lane. Everything that belongs to a
// panel is stored with its rows last, (steps, kVectors * kLanes): so the softmax needs no sum
// across lanes. Every number of a row is computed by one chain of operations over the slots it
// sees: nothing depends on the other rows of the panel.
#pragma once

#include "kernels/cpu/body_attention_tile.h"

namespace chatglm::kernels {

// Hands out a task's scratch memory, each piece a multiple of 64 bytes.
class AttentionScratch {
 public:
  CHATGLM_ALWAYS_INLINE explicit AttentionScratch(std::byte* memory) : next_(memory) {}
  CHATGLM_ALWAYS_INLINE float* floats(int64_t count) {
    return reinterpret_cast<float*>(bytes(count * static_cast<int64_t>(sizeof(float))));
  }
  CHATGLM_ALWAYS_INLINE std::byte* bytes(int64_t count) {
    std::byte* const start = next_;
    next_ += count;
    return start;
  }

 private:
  std::byte* next_;
};

template <class V, int64_t kMostRows>
class AttentionRows {
 public:
  // Whatever the padding of heads is.
  static int64_t partial_bytes(int64_t product_rows, int64_t head_dim) {
    const int64_t rows = round_up<V>(product_rows, V::kLanes);
    return round_up<V>(bytes_of(rows * (round_up<V>(head_dim, kAttentionStripe) + 2)), 64);
  }

 protected:
  using F32 = typename V::F32;
  static constexpr float kLowest = -3.0e38F;  // stands for -infinity, whose differences are NaN
  static constexpr int kWide = V::kAttentionVectors;
  static constexpr int64_t kMostPanels = kMostRows / V::kLanes;
  static_assert(kMostRows % (kWide * V::kLanes) == 0);

  struct Panel {
    int64_t first;  // product row
    int64_t vectors;
    int64_t least, most;  // slots that its rows see
  };
  // Largest score (times log2(e): weights are powers of 2), sum of the weights, weighted sum of the
  // values of each product row.
  struct Softmax {
    float* largest;  // (rows)
    float* weight;   // (rows)
    float* values;   // a panel after the other, each (stride, its rows)
  };
  template <int kCount>
  struct Count {
    static constexpr int value = kCount;
  };

  // Of scratch memory; `stride`: head_dim with padding.
  static int64_t rows_bytes(int64_t stride) { return bytes_of(kMostRows * (2 * stride + 6)); }
  static int64_t bytes_of(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }

  AttentionRows(const PagedAttentionArgs& args, const AttentionTask& task, int64_t stride,
                AttentionScratch& scratch)
      : args_(args),
        task_(task),
        count_(task.num_rows * task.num_heads),
        rows_(round_up<V>(count_, V::kLanes)),
        stride_(stride),
        blocks_(args.rows.block_table +
                args.rows.sequence[task.first_row] * args.rows.block_table_stride) {
    total_.values = scratch.floats(rows_ * stride_);
    part_.values = scratch.floats(rows_ * stride_);
    total_.largest = scratch.floats(rows_);
    total_.weight = scratch.floats(rows_);
    part_.largest = scratch.floats(rows_);
    part_.weight = scratch.floats(rows_);
    shrink_ = scratch.floats(rows_);
    visible_ = scratch.floats(rows_);
    lay_panels();
    const PagedKvView& kv = args_.kv;
    const int32_t page = blocks_[0];
    const int64_t kv_head = task_.first_head / (args_.heads / kv.kv_heads);
    keys_offset_ = kv.keys(page, args_.layer, kv_head) - kv.pages[page];
    values_offset_ = kv.values(page, args_.layer, kv_head) - kv.pages[page];
    token_bytes_ = kv.token_bytes();
    task_end_ = (task_.first_partition + task_.num_partitions) * kAttentionPartition;
    if (longest_ < task_end_) task_end_ = longest_;
  }

  // Calls body<vectors>(panel) for the panels that see more than `position`.
  template <typename Body>
  void for_panels(int64_t position, const Body& body) const {
    for (int64_t p = 0; p < num_panels_; ++p) {
      if (panels_[p].most <= position) continue;
      if (panels_[p].vectors == kWide) {
        body(panels_[p], Count<kWide>{});
      } else {
        body(panels_[p], Count<1>{});
      }
    }
  }

  // Calls body(begin, end) for each partition of the task, which leaves its result in part_.
  template <typename Body>
  void attend_partitions(const Body& body) {
    for (int64_t p = 0; p < task_.num_partitions; ++p) {
      if (task_.partials != nullptr) part_ = partial(p);
      const int64_t begin = (task_.first_partition + p) * kAttentionPartition;
      const int64_t whole = begin + kAttentionPartition;
      body(begin, whole < task_end_ ? whole : task_end_);
      if (task_.partials == nullptr) add_part(begin);
    }
    if (task_.partials == nullptr) finish();
  }

  void merge_partials() {
    for (int64_t begin = 0; begin < longest_; begin += kAttentionPartition) {
      part_ = partial(begin / kAttentionPartition);
      add_part(begin);
    }
    finish();
  }

  // Of a product row.
  const float* query(int64_t row) const {
    return args_.query + (task_.first_row + row / task_.num_heads) * args_.query_stride +
           (task_.first_head + row % task_.num_heads) * args_.kv.head_dim;
  }

  // Of `count` positions from `start` on, those that a row of the panel sees, and that all its rows
  // see.
  static int64_t seen(const Panel& panel, int64_t start, int64_t count) {
    return panel.most - start < count ? panel.most - start : count;
  }
  static int64_t seen_by_all(const Panel& panel, int64_t start, int64_t count) {
    const int64_t common = panel.least - start < count ? panel.least - start : count;
    return common > 0 ? common : 0;
  }

  // Turns scores (count, kVectors * kLanes) of positions from `start` on, the first of a partition
  // or more of it, into weights; what the partition holds is to be multiplied by shrink_.
  template <int kVectors>
  void weigh(const Panel& panel, float* scores, int64_t start, int64_t count, bool first) {
    constexpr int64_t kWidth = kVectors * V::kLanes;
    const int64_t last = seen(panel, start, count);
    hide<kVectors>(panel, scores, start, count);
    for (int64_t lane = 0; lane < kWidth; lane += V::kLanes) {
      const int64_t row = panel.first + lane;
      Weighing weighing = begin_weights<kWidth>(scores + lane, last, row, first);
      add_weights<kWidth>(weighing, scores + lane, 0, last);
      end_weights(weighing, row, first);
    }
  }

  // The parts of it. Gives the lowest score to rows that do not see a position.
  template <int kVectors>
  void hide(const Panel& panel, float* scores, int64_t start, int64_t count) const {
    constexpr int64_t kWidth = kVectors * V::kLanes;
    const int64_t last = seen(panel, start, count);
    for (int64_t t = seen_by_all(panel, start, count); t < last; ++t) {
      const F32 position = V::set(static_cast<float>(start + t));
      for (int64_t lane = 0; lane < kWidth; lane += V::kLanes) {
        float* const score = scores + t * kWidth + lane;
        const F32 limit = V::load(visible_ + panel.first + lane);
        V::store(score, V::if_less(position, limit, V::load(score), V::set(kLowest)));
      }
    }
  }

  // Of one vector of rows.
  static constexpr int kChains = 4;
  struct Weighing {
    F32 minus_largest;
    F32 sums[kChains];
  };

  template <int64_t kWidth>
  Weighing begin_weights(const float* scores, int64_t count, int64_t row, bool first) {
    const F32 lowest = V::set(kLowest), zero = V::set(0.0F);
    const F32 before = first ? lowest : V::load(part_.largest + row);
    F32 most[kChains] = {lowest, lowest, lowest, lowest};
    for (int64_t t = 0; t < count; t += kChains) {
      CHATGLM_UNROLL
      for (int c = 0; c < kChains; ++c) {
        if (t + c < count) most[c] = V::max(most[c], V::load(scores + (t + c) * kWidth));
      }
    }
    const F32 most_of_all = V::max(V::max(most[0], most[1]), V::max(most[2], most[3]));
    const F32 largest = V::max(before, V::mul(most_of_all, score_scale()));
    V::store(part_.largest + row, largest);
    V::store(shrink_ + row, exp2_of_negative<V>(V::sub(before, largest)));
    return {V::sub(zero, largest), {zero, zero, zero, zero}};
  }

  // Scores [begin, end) become weights; `begin` is a multiple of kChains.
  template <int64_t kWidth>
  void add_weights(Weighing& weighing, float* scores, int64_t begin, int64_t end) const {
    const F32 scale = score_scale(), minus_largest = weighing.minus_largest;
    F32 sums[kChains];
    for (int c = 0; c < kChains; ++c) sums[c] = weighing.sums[c];
    for (int64_t t = begin; t < end; t += kChains) {
      CHATGLM_UNROLL
      for (int c = 0; c < kChains; ++c) {
        if (t + c >= end) continue;
        float* const score = scores + (t + c) * kWidth;
        const F32 weight = exp2_of_negative<V>(V::fma(V::load(score), scale, minus_largest));
        V::store(score, weight);
        sums[c] = V::add(sums[c], weight);
      }
    }
    for (int c = 0; c < kChains; ++c) weighing.sums[c] = sums[c];
  }

  void end_weights(const Weighing& weighing, int64_t row, bool first) {
    const F32* const sums = weighing.sums;
    const F32 sum = V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3]));
    V::store(part_.weight + row,
             first ? sum : V::fma(V::load(part_.weight + row), V::load(shrink_ + row), sum));
  }

  const PagedAttentionArgs& args_;
  const AttentionTask& task_;
  const int64_t count_;          // product rows
  const int64_t rows_;           // the same, whole vectors
  const int64_t stride_;         // head_dim with padding
  const int32_t* const blocks_;  // pages of the sequence
  int64_t keys_offset_ = 0;      // from the start of a page to this layer and head
  int64_t values_offset_ = 0;
  int64_t token_bytes_ = 0;
  int64_t longest_ = 0;   // slots that any row sees
  int64_t task_end_ = 0;  // where the task's partitions end
  int64_t num_panels_ = 0;
  Panel panels_[kMostPanels];
  Softmax part_;    // of the partition at hand
  float* shrink_;   // (rows)
  float* visible_;  // (rows) slots that the row sees: exact, since no context has 2^24

 private:
  void lay_panels() {
    for (int64_t first = 0; first < rows_; ++num_panels_) {
      Panel& panel = panels_[num_panels_];
      panel = {first, rows_ - first >= kWide * V::kLanes ? kWide : 1, INT64_MAX, 0};
      for (; first < panel.first + panel.vectors * V::kLanes; ++first) {
        // What fills the last vector up is as the last row.
        const int64_t row = first < count_ ? first : count_ - 1;
        const int64_t visible = args_.rows.visible[task_.first_row + row / task_.num_heads];
        if (visible < panel.least) panel.least = visible;
        if (visible > panel.most) panel.most = visible;
        visible_[first] = static_cast<float>(visible);
      }
      if (panel.most > longest_) longest_ = panel.most;
    }
  }

  F32 score_scale() const { return V::set(args_.scale * 1.44269504F); }  // log2(e)

  // The place of partition p among the task's.
  Softmax partial(int64_t p) const {
    auto* floats =
        reinterpret_cast<float*>(task_.partials + p * partial_bytes(count_, args_.kv.head_dim));
    return {floats, floats + rows_, floats + 2 * rows_};
  }

  // Adds the finished partition that begins at `begin` to the total of the rows that see it.
  void add_part(int64_t begin) {
    for_panels(begin, [&](const Panel& panel, auto vectors) {
      constexpr int64_t kWidth = decltype(vectors)::value * V::kLanes;
      for (int64_t lane = 0; lane < kWidth; lane += V::kLanes) {
        add_part_lanes<kWidth>(panel.first + lane, panel.first * stride_ + lane, begin);
      }
    });
  }

  template <int64_t kWidth>
  void add_part_lanes(int64_t row, int64_t column, int64_t begin) {
    const F32 part_largest = V::load(part_.largest + row),
              part_weight = V::load(part_.weight + row);
    const float* const part = part_.values + column;
    float* const total = total_.values + column;
    if (begin == 0) {  // seen by every row
      V::store(total_.largest + row, part_largest);
      V::store(total_.weight + row, part_weight);
      for (int64_t i = 0; i < stride_; ++i)
        V::store(total + i * kWidth, V::load(part + i * kWidth));
      return;
    }
    const F32 slot = V::set(static_cast<float>(begin)), limit = V::load(visible_ + row);
    const F32 before = V::load(total_.largest + row), weight = V::load(total_.weight + row);
    const F32 largest = V::max(part_largest, before);
    const F32 shrink_total = exp2_of_negative<V>(V::sub(before, largest));
    const F32 shrink_part = exp2_of_negative<V>(V::sub(part_largest, largest));
    const F32 sum = V::fma(part_weight, shrink_part, V::mul(weight, shrink_total));
    V::store(total_.largest + row, V::if_less(slot, limit, largest, before));
    V::store(total_.weight + row, V::if_less(slot, limit, sum, weight));
    for (int64_t i = 0; i < stride_ * kWidth; i += kWidth) {
      const F32 old = V::load(total + i);
      const F32 both = V::fma(V::load(part + i), shrink_part, V::mul(old, shrink_total));
      V::store(total + i, V::if_less(slot, limit, both, old));
    }
  }

  void finish() {
    for_panels(0, [&](const Panel& panel, auto vectors) {
      constexpr int64_t kWidth = decltype(vectors)::value * V::kLanes;
      float* const values = total_.values + panel.first * stride_;  // (stride, kWidth)
      for (int64_t lane = 0; lane < kWidth; lane += V::kLanes) {
        const F32 inverse = V::div(V::set(1.0F), V::load(total_.weight + panel.first + lane));
        for (int64_t i = lane; i < stride_ * kWidth; i += kWidth) {
          V::store(values + i, V::mul(V::load(values + i), inverse));
        }
      }
      for (int64_t lane = 0; lane < kWidth && panel.first + lane < count_; lane += 4) {
        store_outputs(panel.first + lane, values + lane, kWidth);
      }
    });
  }

  // Of 4 product rows, or those that there are.
  void store_outputs(int64_t row, const float* values, int64_t width) const {
    const int64_t present = count_ - row < 4 ? count_ - row : 4;
    float* to[4];
    for (int64_t j = 0; j < 4; ++j) to[j] = output(row + (j < present ? j : 0));
    int64_t i = 0;
    for (; present == 4 && i + 4 <= args_.kv.head_dim; i += 4) {
      const float* const from = values + i * width;
      const float* const rows[4] = {from, from + width, from + 2 * width, from + 3 * width};
      V::transpose4(rows, to);
      for (float*& next : to) next += 4;
    }
    for (; i < args_.kv.head_dim; ++i) {
      for (int64_t j = 0; j < present; ++j) *to[j]++ = values[i * width + j];
    }
  }

  float* output(int64_t row) const {
    return args_.output + ((task_.first_row + row / task_.num_heads) * args_.heads +
                           task_.first_head + row % task_.num_heads) *
                              args_.kv.head_dim;
  }

  Softmax total_;
};

}  // namespace chatglm::kernels
