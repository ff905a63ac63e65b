// Attention over the paged cache in f32, by tiles of kTile positions. A tile of keys or values is
// decoded once for all panels of a task's product rows (body_attention_rows.h), and its numbers are
// broadcast to them. Tiles are counted from position 0, across page borders.
#pragma once

#include "kernels/cpu/body_attention_rows.h"

namespace chatglm::kernels {

inline constexpr int64_t kMostAttentionRows = 64;  // product rows of a task

template <class V>
class PagedAttention : AttentionRows<V, kMostAttentionRows> {
  using Rows = AttentionRows<V, kMostAttentionRows>;

 public:
  static int64_t most_product_rows(const PagedAttentionArgs&) { return kMostAttentionRows; }
  static int64_t scratch_bytes(int64_t head_dim) {
    const int64_t stride = padded_dim(head_dim), rows = kMostAttentionRows;
    return Rows::rows_bytes(stride) +
           Rows::bytes_of(rows * stride + rows * kTile + kAttentionBlock * stride +
                          kTile * kAttentionStripe);
  }
  using Rows::partial_bytes;
  static void attend(const PagedAttentionArgs& args, const AttentionTask& task,
                     std::byte* scratch) {
    AttentionScratch memory(scratch);
    PagedAttention(args, task, memory).attend();
  }
  static void merge(const PagedAttentionArgs& args, const AttentionTask& task, std::byte* scratch) {
    AttentionScratch memory(scratch);
    PagedAttention(args, task, memory).merge_partials();
  }

 private:
  using Rows::args_, Rows::blocks_, Rows::count_, Rows::keys_offset_, Rows::part_, Rows::rows_;
  using Rows::for_panels, Rows::merge_partials, Rows::query, Rows::seen, Rows::seen_by_all;
  using Rows::shrink_, Rows::stride_, Rows::task_end_, Rows::token_bytes_, Rows::values_offset_;
  using Rows::visible_;
  using typename Rows::F32;
  using typename Rows::Panel;
  static constexpr int64_t kTile = 64;  // positions
  static_assert(kAttentionPartition % kTile == 0 && kTile % kAttentionBlock == 0);
  static_assert(kAttentionBlock % V::kLanes == 0);

  static int64_t padded_dim(int64_t head_dim) { return round_up<V>(head_dim, kAttentionBlock); }

  PagedAttention(const PagedAttentionArgs& args, const AttentionTask& task,
                 AttentionScratch& scratch)
      : Rows(args, task, padded_dim(args.kv.head_dim), scratch),
        queries_(scratch.floats(rows_ * stride_)),
        scores_(scratch.floats(rows_ * kTile)),
        keys_(scratch.floats(kAttentionBlock * stride_)),
        stripe_(scratch.floats(kTile * kAttentionStripe)) {}

  void attend() {
    load_queries();
    Rows::attend_partitions([&](int64_t begin, int64_t end) {
      for (int64_t start = begin; start < end; start += kTile) {
        attend_tile(start, end - start < kTile ? end - start : kTile, start == begin);
      }
    });
  }

  void load_queries() {
    for_panels(0, [&](const Panel& panel, auto vectors) {
      constexpr int64_t kWidth = decltype(vectors)::value * V::kLanes;
      float* const queries = queries_ + panel.first * stride_;  // (stride, kWidth)
      std::memset(queries, 0, static_cast<std::size_t>(stride_ * kWidth) * sizeof(float));
      int64_t lane = 0;
      for (; lane < kWidth && panel.first + lane < count_; lane += 4) {
        const int64_t present = count_ - panel.first - lane;
        const float* from[4];
        for (int64_t j = 0; j < 4; ++j) from[j] = query(panel.first + lane + (j < present ? j : 0));
        int64_t i = 0;
        for (; i + 4 <= args_.kv.head_dim; i += 4) {
          float* const to = queries + i * kWidth + lane;
          float* const rows[4] = {to, to + kWidth, to + 2 * kWidth, to + 3 * kWidth};
          V::transpose4(from, rows);
          for (const float*& row : from) row += 4;
        }
        for (; i < args_.kv.head_dim; ++i) {
          for (int64_t j = 0; j < 4; ++j) queries[i * kWidth + lane + j] = *from[j]++;
        }
      }
    });
  }

  // Positions [start, start + count), the first of a partition or more of it.
  void attend_tile(int64_t start, int64_t count, bool first) {
    KvAhead values(KvWalk(args_.kv, blocks_, values_offset_, start), token_bytes_, count);
    for (int64_t t = 0; t < count; t += kAttentionBlock) {
      score_block(start, t, count, values);
    }
    for_panels(start, [&](const Panel& panel, auto vectors) {
      Rows::template weigh<decltype(vectors)::value>(panel, scores_ + panel.first * kTile, start,
                                                     count, first);
    });
    const int64_t next = start + count, left = task_end_ - next;
    KvAhead keys(KvWalk(args_.kv, blocks_, keys_offset_, left > 0 ? next : start), token_bytes_,
                 left < kTile ? left : kTile);
    for (int64_t column = 0; column < stride_; column += kAttentionStripe) {
      add_stripe(start, count, column, first, keys);
    }
  }

  void score_block(int64_t start, int64_t t, int64_t count, KvAhead& ahead) {
    const int64_t positions = count - t < kAttentionBlock ? count - t : kAttentionBlock;
    const KvWalk walk(args_.kv, blocks_, keys_offset_, start + t);
    for (int64_t column = 0; column < stride_; column += kAttentionStripe) {
      decode_stripe<V>(args_.kv.dtype, walk, positions, args_.kv.head_dim, column,
                       stripe_columns(column), keys_ + column, stride_);
    }
    std::memset(keys_ + positions * stride_, 0,
                static_cast<std::size_t>((kAttentionBlock - positions) * stride_) * sizeof(float));
    for_panels(start + t, [&](const Panel& panel, auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      multiply<V, kVectors, false>(
          keys_, stride_, 1, queries_ + panel.first * stride_, stride_, nullptr,
          scores_ + panel.first * kTile + t * kVectors * V::kLanes, kAttentionBlock, ahead);
    });
  }

  int64_t stripe_columns(int64_t column) const {
    return stride_ - column < kAttentionStripe ? stride_ - column : kAttentionStripe;
  }

  // Adds the tile's weighted values in columns [column, column + kAttentionStripe).
  void add_stripe(int64_t start, int64_t count, int64_t column, bool first, KvAhead& ahead) {
    const int64_t columns = stripe_columns(column);
    decode_stripe<V>(args_.kv.dtype, KvWalk(args_.kv, blocks_, values_offset_, start), count,
                     args_.kv.head_dim, column, columns, stripe_, kAttentionStripe);
    for_panels(start, [&](const Panel& panel, auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      constexpr int64_t kWidth = kVectors * V::kLanes;
      const float* const weights = scores_ + panel.first * kTile;
      const float* const factor = shrink_ + panel.first;
      float* const values = part_.values + panel.first * stride_ + column * kWidth;
      const int64_t common = seen_by_all(panel, start, count);
      if (first) {
        multiply<V, kVectors, false>(stripe_, 1, kAttentionStripe, weights, common, factor, values,
                                     columns, ahead);
      } else {
        multiply<V, kVectors, true>(stripe_, 1, kAttentionStripe, weights, common, factor, values,
                                    columns, ahead);
      }
      for (int64_t t = common; t < seen(panel, start, count); ++t) {
        add_where_seen<kWidth>(panel, start + t, stripe_ + t * kAttentionStripe,
                               weights + t * kWidth, values, columns);
      }
    });
  }

  // One position's values, to the rows that see it.
  template <int64_t kWidth>
  void add_where_seen(const Panel& panel, int64_t position, const float* value,
                      const float* weights, float* sums, int64_t columns) const {
    const F32 slot = V::set(static_cast<float>(position));
    for (int64_t lane = 0; lane < kWidth; lane += V::kLanes) {
      const F32 limit = V::load(visible_ + panel.first + lane);
      const F32 weight = V::load(weights + lane);
      for (int64_t i = 0; i < columns; ++i) {
        float* const at = sums + i * kWidth + lane;
        const F32 sum = V::load(at);
        V::store(at, V::if_less(slot, limit, V::fma(V::set(value[i]), weight, sum), sum));
      }
    }
  }

  float* queries_;  // a panel after the other, each (stride, its rows)
  float* scores_;   // a panel after the other, each (kTile, its rows); then weights
  float* keys_;     // (kAttentionBlock, stride)
  float* stripe_;   // (kTile, kAttentionStripe) of the values
};

}  // namespace chatglm::kernels
