// Attention over the paged cache: an online softmax over tiles of kTile positions, in partitions of
// kAttentionPartition that are merged in ascending order.
//
// A tile of keys or values is decoded once, to f32 rows padded with zeros to whole vectors, and
// used by all query heads of its KV head. Tiles are counted from position 0, across page borders:
// the arithmetic depends on the position alone. All scratch is on the stack.
#pragma once

#include "kernels/cpu/body_common.h"

namespace chatglm::kernels {

template <class V>
struct PagedAttention {
  using F32 = typename V::F32;
  static constexpr int64_t kTile = 16;             // positions; a multiple of kLanes
  static constexpr int64_t kMaxHeads = 16;         // query heads that share a tile
  static constexpr int64_t kScratchFloats = 2048;  // of the heads' queries or sums
  static constexpr float kLowest = -3.0e38F;  // stands for -infinity, whose differences are NaN
  static_assert(kTile % V::kLanes == 0 && kAttentionPartition % kTile == 0);
  static_assert(kMaxAttentionHeadDim % V::kLanes == 0 && kMaxAttentionHeadDim <= kScratchFloats);

  static constexpr int64_t kMaxProductRows = 64;

  static int64_t scratch_bytes(int64_t) { return 0; }

  // For each product row its softmax: largest, weight, values (stride).
  static int64_t partial_bytes(int64_t product_rows, int64_t head_dim) {
    const int64_t floats = product_rows * (2 + round_up<V>(head_dim, V::kLanes));
    return round_up<V>(floats * static_cast<int64_t>(sizeof(float)), 64);
  }

  static void attend(const PagedAttentionArgs& args, const AttentionTask& task, std::byte*) {
    for_parts(args, task, [&](PagedAttention& part) { part.attend_part(task); });
  }
  static void merge(const PagedAttentionArgs& args, const AttentionTask& task, std::byte*) {
    for_parts(args, task, [&](PagedAttention& part) { part.merge_part(task); });
  }

 private:
  // Calls body for every row with as many of the task's heads as fit.
  template <typename Body>
  static void for_parts(const PagedAttentionArgs& args, const AttentionTask& task,
                        const Body& body) {
    const int64_t stride = round_up<V>(args.kv.head_dim, V::kLanes);
    const int64_t fitting = kScratchFloats / stride;
    const int64_t most = fitting < kMaxHeads ? fitting : kMaxHeads;
    for (int64_t row = 0; row < task.num_rows; ++row) {
      for (int64_t first = 0; first < task.num_heads; first += most) {
        const int64_t heads = task.num_heads - first < most ? task.num_heads - first : most;
        PagedAttention part(args, task.first_row + row, task.first_head + first, heads, stride);
        part.product_row_ = row * task.num_heads + first;
        body(part);
      }
    }
  }

  // The softmax of each head so far: largest score, sum of the weights, weighted sum of the values.
  struct Softmax {
    float largest[kMaxHeads];
    float weight[kMaxHeads];
    alignas(64) float values[kScratchFloats];  // (heads, stride)

    void clear(int64_t heads, int64_t stride) {
      for (int64_t h = 0; h < heads; ++h) {
        largest[h] = kLowest;
        weight[h] = 0;
      }
      std::memset(values, 0, static_cast<std::size_t>(heads * stride) * sizeof(float));
    }
  };

  PagedAttention(const PagedAttentionArgs& args, int64_t row, int64_t first_head, int64_t heads,
                 int64_t stride)
      : args_(args),
        row_(row),
        kv_head_(first_head / (args.heads / args.kv.kv_heads)),
        heads_(heads),
        stride_(stride) {
    const int64_t head_dim = args.kv.head_dim;
    const float* query = args.query + row * args.query_stride + first_head * head_dim;
    blocks_ = args.rows.block_table + args.rows.sequence[row] * args.rows.block_table_stride;
    token_bytes_ = args.kv.token_bytes();
    output_ = args.output + (row * args.heads + first_head) * head_dim;
    std::memset(query_, 0, static_cast<std::size_t>(heads * stride) * sizeof(float));
    std::memset(tile_, 0, static_cast<std::size_t>(kTile * stride) * sizeof(float));
    for (int64_t h = 0; h < heads; ++h) {
      std::memcpy(query_ + h * stride, query + h * head_dim,
                  static_cast<std::size_t>(head_dim) * sizeof(float));
    }
  }

  void attend_part(const AttentionTask& task) {
    const int64_t length = args_.rows.visible[row_];
    const PagedKvView& kv = args_.kv;
    const int32_t page = blocks_[0];
    const int64_t keys_offset = kv.keys(page, args_.layer, kv_head_) - kv.pages[page];
    const int64_t values_offset = kv.values(page, args_.layer, kv_head_) - kv.pages[page];
    total_.clear(heads_, stride_);
    for (int64_t p = 0; p < task.num_partitions; ++p) {
      const int64_t begin = (task.first_partition + p) * kAttentionPartition;
      const int64_t whole = begin + kAttentionPartition;
      const int64_t end = whole < length ? whole : length;
      if (begin >= end) break;
      part_.clear(heads_, stride_);
      for (int64_t start = begin; start < end; start += kTile) {
        const int64_t count = end - start < kTile ? end - start : kTile;
        load_tile(start, count, keys_offset);
        score_tile(count);
        weigh_tile();
        load_tile(start, count, values_offset);
        add_values(count);
      }
      if (task.partials == nullptr) {
        add_part();
      } else {
        move_part(task, p, /*store=*/true);
      }
    }
    if (task.partials == nullptr) finish();
  }

  void merge_part(const AttentionTask& task) {
    total_.clear(heads_, stride_);
    for (int64_t p = 0; p * kAttentionPartition < args_.rows.visible[row_]; ++p) {
      move_part(task, p, /*store=*/false);
      add_part();
    }
    finish();
  }

  // Between part_ and the place of partition p among the task's.
  void move_part(const AttentionTask& task, int64_t p, bool store) {
    const int64_t bytes = partial_bytes(task.num_rows * task.num_heads, args_.kv.head_dim);
    auto* floats = reinterpret_cast<float*>(task.partials + p * bytes);
    floats += product_row_ * (2 + stride_);
    for (int64_t h = 0; h < heads_; ++h, floats += 2 + stride_) {
      float* values = part_.values + h * stride_;
      const auto count = static_cast<std::size_t>(stride_) * sizeof(float);
      if (store) {
        floats[0] = part_.largest[h];
        floats[1] = part_.weight[h];
        std::memcpy(floats + 2, values, count);
      } else {
        part_.largest[h] = floats[0];
        part_.weight[h] = floats[1];
        std::memcpy(values, floats + 2, count);
      }
    }
  }

  void finish() {
    for (int64_t h = 0; h < heads_; ++h) {
      const float inverse = 1.0F / total_.weight[h];
      const float* values = total_.values + h * stride_;
      for (int64_t i = 0; i < args_.kv.head_dim; ++i) {
        output_[h * args_.kv.head_dim + i] = values[i] * inverse;
      }
    }
  }

  // Decodes positions [start, start + count) of this head's keys or values, which lie `offset`
  // bytes from the start of each page, into tile_.
  void load_tile(int64_t start, int64_t count, int64_t offset) {
    const int64_t page_tokens = args_.kv.page_tokens;
    for (int64_t t = 0; t < count; ++t) {
      const std::byte* page = args_.kv.pages[blocks_[(start + t) / page_tokens]];
      decode(page + offset + (start + t) % page_tokens * token_bytes_, tile_ + t * stride_);
    }
  }

  void decode(const std::byte* source, float* row) const {
    const int64_t head_dim = args_.kv.head_dim;
    if (args_.kv.dtype == DType::kF32) {
      std::memcpy(row, source, static_cast<std::size_t>(head_dim) * sizeof(float));
    } else if (args_.kv.dtype == DType::kF16) {
      const auto* halves = reinterpret_cast<const uint16_t*>(source);
      int64_t i = 0;
      for (; i + V::kLanes <= head_dim; i += V::kLanes) V::store(row + i, V::load_f16(halves + i));
      if (i < head_dim) {
        uint16_t rest[V::kLanes] = {};
        std::memcpy(rest, halves + i, static_cast<std::size_t>(head_dim - i) * sizeof(uint16_t));
        V::store(row + i, V::load_f16(rest));
      }
    } else {  // q8_0: an f16 scale, then 32 signed bytes
      constexpr int64_t kBlock = 32, kBlockBytes = 34;
      for (int64_t i = 0; i < head_dim; i += kBlock, source += kBlockBytes) {
        uint16_t scale_bits[V::kLanes] = {};
        std::memcpy(scale_bits, source, sizeof(uint16_t));
        float scale[V::kLanes];
        V::store(scale, V::load_f16(scale_bits));
        const auto* quants = reinterpret_cast<const int8_t*>(source + sizeof(uint16_t));
        for (int64_t j = 0; j < kBlock; j += V::kLanes) {
          V::store(row + i + j, V::mul(V::load_i8(quants + j), V::set(scale[0])));
        }
      }
    }
  }

  void score_tile(int64_t count) {
    for (int64_t h = 0; h < heads_ * kTile; ++h) weights_[h] = kLowest;
    int64_t h = 0;
    for (; h + 4 <= heads_; h += 4) score_heads<4>(h, count);
    for (; h < heads_; ++h) score_heads<1>(h, count);
  }

  template <int kHeads>
  void score_heads(int64_t head, int64_t count) {
    int64_t t = 0;
    for (; t + 2 <= count; t += 2) score<kHeads, 2>(head, t);
    if (t < count) score<kHeads, 1>(head, t);
  }

  template <int kHeads, int kTokens>
  void score(int64_t head, int64_t token) {
    const float* query = query_ + head * stride_;
    const float* key = tile_ + token * stride_;
    F32 sum[kHeads][kTokens];
    CHATGLM_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      CHATGLM_UNROLL
      for (int t = 0; t < kTokens; ++t) sum[h][t] = V::set(0.0F);
    }
    for (int64_t i = 0; i < stride_; i += V::kLanes) {
      F32 k[kTokens];
      CHATGLM_UNROLL
      for (int t = 0; t < kTokens; ++t) k[t] = V::load(key + t * stride_ + i);
      CHATGLM_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        const F32 q = V::load(query + h * stride_ + i);
        CHATGLM_UNROLL
        for (int t = 0; t < kTokens; ++t) sum[h][t] = V::fma(q, k[t], sum[h][t]);
      }
    }
    CHATGLM_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      CHATGLM_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        weights_[(head + h) * kTile + token + t] = V::reduce_add(sum[h][t]) * args_.scale;
      }
    }
  }

  // Turns the tile's scores into weights and scales what the partition holds to the new maximum.
  void weigh_tile() {
    for (int64_t h = 0; h < heads_; ++h) {
      float* weights = weights_ + h * kTile;
      F32 lanes = V::load(weights);
      for (int64_t t = V::kLanes; t < kTile; t += V::kLanes) {
        lanes = V::max(lanes, V::load(weights + t));
      }
      const float tile_largest = V::reduce_max(lanes);
      const float before = part_.largest[h];
      const float largest = tile_largest > before ? tile_largest : before;
      F32 sum = V::set(0.0F);
      for (int64_t t = 0; t < kTile; t += V::kLanes) {
        const F32 weight = vector_exp<V>(V::sub(V::load(weights + t), V::set(largest)));
        V::store(weights + t, weight);
        sum = V::add(sum, weight);
      }
      if (largest != before) {
        const float shrink = scalar_exp(before - largest);
        part_.weight[h] *= shrink;
        scale_values(part_.values + h * stride_, shrink);
        part_.largest[h] = largest;
      }
      part_.weight[h] += V::reduce_add(sum);
    }
  }

  void add_values(int64_t count) {
    int64_t h = 0;
    for (; h + 4 <= heads_; h += 4) add_values_to<4>(h, count);
    for (; h < heads_; ++h) add_values_to<1>(h, count);
  }

  template <int kHeads>
  void add_values_to(int64_t head, int64_t count) {
    int64_t i = 0;
    for (; i + 2 * V::kLanes <= stride_; i += 2 * V::kLanes) add<kHeads, 2>(head, i, count);
    if (i < stride_) add<kHeads, 1>(head, i, count);
  }

  template <int kHeads, int kVectors>
  void add(int64_t head, int64_t column, int64_t count) {
    float* values = part_.values + head * stride_ + column;
    const float* weights = weights_ + head * kTile;
    F32 sum[kHeads][kVectors];
    CHATGLM_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[h][v] = V::load(values + h * stride_ + v * V::kLanes);
    }
    for (int64_t t = 0; t < count; ++t) {
      F32 value[kVectors];
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        value[v] = V::load(tile_ + t * stride_ + column + v * V::kLanes);
      }
      CHATGLM_UNROLL
      for (int h = 0; h < kHeads; ++h) {
        const F32 weight = V::set(weights[h * kTile + t]);
        CHATGLM_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[h][v] = V::fma(weight, value[v], sum[h][v]);
      }
    }
    CHATGLM_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) V::store(values + h * stride_ + v * V::kLanes, sum[h][v]);
    }
  }

  // Adds the finished partition to the total.
  void add_part() {
    for (int64_t h = 0; h < heads_; ++h) {
      const float before = total_.largest[h], part = part_.largest[h];
      const float largest = part > before ? part : before;
      const float shrink_total = scalar_exp(before - largest);
      const float shrink_part = scalar_exp(part - largest);
      total_.largest[h] = largest;
      total_.weight[h] = total_.weight[h] * shrink_total + part_.weight[h] * shrink_part;
      float* total = total_.values + h * stride_;
      scale_values(total, shrink_total);
      const float* values = part_.values + h * stride_;
      for (int64_t i = 0; i < stride_; i += V::kLanes) {
        V::store(total + i, V::fma(V::load(values + i), V::set(shrink_part), V::load(total + i)));
      }
    }
  }

  void scale_values(float* values, float factor) const {
    for (int64_t i = 0; i < stride_; i += V::kLanes) {
      V::store(values + i, V::mul(V::load(values + i), V::set(factor)));
    }
  }

  static float scalar_exp(float x) {
    float lanes[V::kLanes];
    V::store(lanes, vector_exp<V>(V::set(x)));
    return lanes[0];
  }

  const PagedAttentionArgs& args_;
  int64_t row_;
  int64_t kv_head_;
  int64_t product_row_ = 0;  // of the task's: the first of these heads
  int64_t heads_;            // of this group, kMaxHeads at most
  int64_t stride_;           // head_dim, rounded up to whole vectors
  const int32_t* blocks_;    // pages of the sequence
  int64_t token_bytes_;
  float* output_;                                         // (heads, head_dim)
  alignas(64) float query_[kScratchFloats];               // (heads, stride)
  alignas(64) float tile_[kTile * kMaxAttentionHeadDim];  // (kTile, stride)
  alignas(64) float weights_[kMaxHeads * kTile];          // (heads, kTile) scores, then weights
  Softmax part_;
  Softmax total_;
};

}  // namespace chatglm::kernels
