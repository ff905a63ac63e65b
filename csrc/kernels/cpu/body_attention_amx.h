// Attention over the paged cache on AMX: scores and weighted sums as tile products in bf16 with f32
// sums, for caches of f16 and q8_0. Rows, softmax and partitions are those of the f32 body
// (body_attention_rows.h).
//
// A whole partition of keys and values is brought to tiles once for all of a task's product rows;
// then each panel of up to 32 rows has its scores, its weights and its sums computed. A tile of
// scores is (16 positions, 16 product rows), of sums (16 columns of the values, 16 product rows),
// as the panels are stored: the first operands are keys, and values transposed in pairs of
// positions; the second ones are queries and weights.
//
// Scores go through exp, so they keep f32's precision but for a few of its last bits: keys and
// queries are sums of two bf16 each (16 bits; all 11 of f16), and three of the four products are
// taken: the fourth is below 2^-16 of the whole. Weights and values are rounded to bf16 once, as
// inputs of the next matrix are.
//
// Counted for 512 product rows and heads of 128, in cycles for one position of 16 rows (a vector of
// weights): products 12 for the score and 4 for the sums; softmax 8 and making tiles of weights 2,
// on other ports and in the shadow of the next panel's 12; storing scores 1, merging
// partitions 1.5, opening keys and values 95 a position, 3 for each of 32 vectors: 21.5, against
// 137 in f32. Two by two tiles of sums take one tile from the second-level cache for two products
// (32 cycles).
#pragma once

#include "kernels/cpu/amx_bf16.h"
#include "kernels/cpu/body_attention_rows.h"

namespace chatglm::kernels {
namespace {

inline constexpr int64_t kMostTiledRows = 512;  // product rows of a task

class AmxAttention : AttentionRows<Avx512Vnni, kMostTiledRows> {
  using V = Avx512Vnni;
  using Rows = AttentionRows<V, kMostTiledRows>;

 public:
  using Rows::partial_bytes;
  static int64_t scratch_bytes(int64_t head_dim) {
    const int64_t stride = padded_dim(head_dim);
    return Rows::rows_bytes(stride) + query_bytes(kMostTiledRows, stride) + key_bytes(stride) +
           value_bytes(stride) + kWeightsBytes + Rows::bytes_of(2 * kScores + kStep * stride);
  }
  static void attend(const PagedAttentionArgs& args, const AttentionTask& task,
                     std::byte* scratch) {
    AttentionScratch memory(scratch);
    AmxAttention(args, task, memory).attend();
  }
  static void merge(const PagedAttentionArgs& args, const AttentionTask& task, std::byte* scratch) {
    AttentionScratch memory(scratch);
    AmxAttention(args, task, memory).merge_partials();
  }

 private:
  static constexpr int64_t kStep = kTileInputs;  // positions of a product with values
  static constexpr int64_t kSteps = kAttentionPartition / kStep;
  static constexpr int64_t kScores = kAttentionPartition * kWide * V::kLanes;
  static constexpr int64_t kWeightsBytes = kSteps * kWide * kTileBytes;
  static_assert(V::kLanes == kTileRows && kWide == 2);

  // The tile registers.
  static constexpr int kSums = 0;  // 4: of first operand i and second operand j at 2 i + j
  static constexpr int kFirst = 4, kSecond = 6;

  static int64_t padded_dim(int64_t head_dim) { return round_up<V>(head_dim, kTileInputs); }
  // (rows / 16, stride / 32, high and low) tiles
  static int64_t query_bytes(int64_t rows, int64_t stride) { return rows * stride * 2 * 2; }
  // (kAttentionPartition / 16, stride / 32, high and low) tiles
  static int64_t key_bytes(int64_t stride) { return kAttentionPartition * stride * 2 * 2; }
  // (kSteps, stride / 16) tiles
  static int64_t value_bytes(int64_t stride) { return kAttentionPartition * stride * 2; }

  AmxAttention(const PagedAttentionArgs& args, const AttentionTask& task, AttentionScratch& scratch)
      : Rows(args, task, padded_dim(args.kv.head_dim), scratch),
        queries_(scratch.bytes(query_bytes(rows_, stride_))),
        keys_(scratch.bytes(key_bytes(stride_))),
        values_(scratch.bytes(value_bytes(stride_))),
        weights_(scratch.bytes(kWeightsBytes)),
        scores_(scratch.floats(2 * kScores)),
        decoded_(scratch.floats(kStep * stride_)) {}

  void attend() {
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.rows[tile] = kTileRows;
      config.row_bytes[tile] = kTileRowBytes;
    }
    Tiles::configure(config);
    load_queries();
    attend_partitions([&](int64_t begin, int64_t end) { attend_partition(begin, end); });
    Tiles::release();
  }

  void attend_partition(int64_t begin, int64_t end) {
    for (int64_t start = begin; start < end; start += kStep) {
      const int64_t count = end - start < kStep ? end - start : kStep;
      const int64_t step = (start - begin) / kStep;
      open_values(start, count, step);
      open_keys(start, count, step);
    }
    const int64_t left = task_end_ - end,
                  ahead = left < kAttentionPartition ? left : kAttentionPartition;
    const int64_t next = left > 0 ? end : begin, pace = (ahead + num_panels_ - 1) / num_panels_;
    KvAhead keys(KvWalk(args_.kv, blocks_, keys_offset_, next), token_bytes_, ahead);
    KvAhead values(KvWalk(args_.kv, blocks_, values_offset_, next), token_bytes_, ahead);
    for_panels(begin, [&](const Panel& panel, auto vectors) {
      constexpr int kVectors = decltype(vectors)::value;
      float* const scores = scores_ + (weighed_.scores == scores_ ? kScores : 0);
      const int64_t count = seen(panel, begin, end - begin);
      keys.fetch(pace);
      score<kVectors>(panel, scores, count);
      values.fetch(pace);
      finish_panel();
      hide<kVectors>(panel, scores, begin, end - begin);
      weighed_ = {&panel, scores, count, 0, {}};
      for (int v = 0; v < kVectors; ++v) {
        weighed_.vectors[v] = begin_weights<kVectors * V::kLanes>(
            scores + v * V::kLanes, count, panel.first + v * V::kLanes, true);
      }
    });
    finish_panel();
    weighed_ = {};
  }

  // The panel whose scores are becoming weights, while those of the next one are being computed.
  struct Weighed {
    const Panel* panel = nullptr;
    float* scores = nullptr;  // (positions, the panel's rows)
    int64_t positions = 0, done = 0;
    Weighing vectors[kWide];
  };

  // As many positions more, to weights and to their tiles. Out of line: its registers are none of
  // the loop's around it.
  [[gnu::noinline]] void weigh_more(int64_t positions) {
    const int64_t left = weighed_.positions - weighed_.done;
    if (left <= 0) return;
    const int64_t end = weighed_.done + (left < positions ? left : positions);
    if (weighed_.panel->vectors == kWide) {
      weigh_until<kWide>(end);
    } else {
      weigh_until<1>(end);
    }
    weighed_.done = end;
  }
  template <int kVectors>
  void weigh_until(int64_t end) {
    for (int v = 0; v < kVectors; ++v) {
      add_weights<kVectors * V::kLanes>(weighed_.vectors[v], weighed_.scores + v * V::kLanes,
                                        weighed_.done, end);
    }
    // The last step is filled up.
    open_weights<kVectors>(weighed_.done, end < weighed_.positions ? end : round_up<V>(end, kStep));
  }

  // The rest of its weights, and its sums.
  void finish_panel() {
    if (weighed_.panel == nullptr) return;
    weigh_more(weighed_.positions);
    const Panel& panel = *weighed_.panel;
    for (int64_t v = 0; v < panel.vectors; ++v) {
      end_weights(weighed_.vectors[v], panel.first + v * V::kLanes, true);
    }
    if (panel.vectors == kWide) {
      add_values<kWide>(panel, weighed_.positions);
    } else {
      add_values<1>(panel, weighed_.positions);
    }
  }

  // What fills the last 16 up is as the last row.
  void load_queries() {
    std::byte* tile = queries_;
    for (int64_t first = 0; first < rows_; first += kTileRows) {
      for (int64_t column = 0; column < stride_; column += kTileInputs, tile += 2 * kTileBytes) {
        const int64_t left = args_.kv.head_dim - column;
        __m512i high[kTileRows], low[kTileRows];
        for (int64_t r = 0; r < kTileRows; ++r) {
          const float* const row = query(first + r < count_ ? first + r : count_ - 1) + column;
          const SplitFloats a(load_some<V>(row, left));
          const SplitFloats b(left > V::kLanes ? load_some<V>(row + V::kLanes, left - V::kLanes)
                                               : V::set(0.0F));
          high[r] = to_bf16(a.high, b.high);
          low[r] = to_bf16(a.low, b.low);
        }
        store_transposed(high, tile);
        store_transposed(low, tile + kTileBytes);
      }
    }
  }

  // Positions [start, start + count) as (kStep, stride), zeros after them.
  void decode(int64_t plane_offset, int64_t start, int64_t count) {
    const KvWalk walk(args_.kv, blocks_, plane_offset, start);
    for (int64_t column = 0; column < stride_; column += kAttentionStripe) {
      decode_stripe<V>(args_.kv.dtype, walk, count, args_.kv.head_dim, column, kAttentionStripe,
                       decoded_ + column, stride_);
    }
    std::memset(decoded_ + count * stride_, 0,
                static_cast<std::size_t>((kStep - count) * stride_) * sizeof(float));
  }

  // A row that does not see a position gives it the weight 0, and 0 times a value that is no number
  // would not be 0. Such a value leaves its place to the key, whose scores no such row reads.
  void open_values(int64_t start, int64_t count, int64_t step) {
    decode(values_offset_, start, count);
    for (int64_t t = 0; t < count; ++t) {
      float* const value = decoded_ + t * stride_;
      __m512 zeros = V::set(0.0F);
      for (int64_t i = 0; i < stride_; i += V::kLanes) {
        zeros = V::fma(V::load(value + i), V::set(0.0F), zeros);
      }
      const float odd = V::reduce_add(zeros);
      odd_[t] = odd;
      if (odd != 0) std::memset(value, 0, static_cast<std::size_t>(stride_) * sizeof(float));
    }
    std::byte* tile = values_ + step * kStep * stride_ * 2;
    for (int64_t column = 0; column < stride_; column += kTileRows, tile += kTileBytes) {
      __m512i pairs[kTileRows];
      for (int64_t p = 0; p < kTileRows; ++p) {
        const float* const value = decoded_ + 2 * p * stride_ + column;
        pairs[p] = to_bf16_pairs(V::load(value), V::load(value + stride_));
      }
      store_transposed(pairs, tile);
    }
  }

  void open_keys(int64_t start, int64_t count, int64_t step) {
    decode(keys_offset_, start, count);
    for (int64_t t = 0; t < count; ++t) {
      if (odd_[t] != 0) decoded_[t * stride_] = odd_[t];
    }
    for (int64_t t = 0; t < kStep; ++t) {
      const float* key = decoded_ + t * stride_;
      std::byte* tile = keys_ + (step * kStep + t) / kTileRows * kTileRows * stride_ * 2 * 2;
      for (int64_t column = 0; column < stride_; column += kTileInputs, tile += 2 * kTileBytes) {
        const SplitFloats a(V::load(key + column)), b(V::load(key + column + V::kLanes));
        store_row(tile, t % kTileRows, to_bf16(a.high, b.high));
        store_row(tile + kTileBytes, t % kTileRows, to_bf16(a.low, b.low));
      }
    }
  }

  // Of the partition's first `count` positions and what fills the last step up.
  template <int kVectors>
  void score(const Panel& panel, float* scores, int64_t count) {
    // Between the products, at an even pace: as many positions of the panel before.
    const int64_t pace = round_up<V>(kStep * kTileInputs / stride_, kChains);
    const int64_t tiles = stride_ / kTileInputs * 2 * kTileBytes;  // of 16 keys or 16 queries
    for (int64_t start = 0; start < count; start += kStep) {
      const std::byte* query = queries_ + panel.first / kTileRows * tiles;
      const std::byte* key = keys_ + start / kTileRows * tiles;
      zero_sums<kVectors>();
      for (const std::byte* const end = key + tiles; key < end;
           key += 2 * kTileBytes, query += 2 * kTileBytes) {
        load_second<kVectors>(query, tiles);
        load_first(key + kTileBytes, tiles);  // low
        multiply<kVectors>();
        load_first(key, tiles);
        multiply<kVectors>();
        load_second<kVectors>(query + kTileBytes, tiles);
        multiply<kVectors>();
        weigh_more(pace);
      }
      store_sums<kVectors>(scores + start * kVectors * V::kLanes);
    }
  }

  // The weights of positions [begin, end) as tiles (kSteps, vectors), zeros after the last one.
  template <int kVectors>
  void open_weights(int64_t begin, int64_t end) {
    constexpr int64_t kWidth = kVectors * V::kLanes;
    const int64_t count = weighed_.positions;
    for (int64_t t = begin; t < end; t += 2) {
      std::byte* const tiles = weights_ + t / kStep * kVectors * kTileBytes;
      for (int64_t v = 0; v < kVectors; ++v) {
        const float* const weight = weighed_.scores + t * kWidth + v * V::kLanes;
        const __m512 first = t < count ? V::load(weight) : V::set(0.0F);
        const __m512 second = t + 1 < count ? V::load(weight + kWidth) : V::set(0.0F);
        store_row(tiles + v * kTileBytes, t % kStep / 2, to_bf16_pairs(first, second));
      }
    }
  }

  // The partition's sums of weighted values.
  template <int kVectors>
  void add_values(const Panel& panel, int64_t count) {
    const int64_t step_bytes = kStep * stride_ * 2;
    float* const sums = part_.values + panel.first * stride_;
    for (int64_t column = 0; column < stride_; column += 2 * kTileRows) {
      const std::byte* value = values_ + column / kTileRows * kTileBytes;
      const std::byte* weights = weights_;
      zero_sums<kVectors>();
      for (int64_t start = 0; start < count; start += kStep) {
        load_first(value, kTileBytes);
        load_second<kVectors>(weights, kTileBytes);
        multiply<kVectors>();
        value += step_bytes;
        weights += kVectors * kTileBytes;
      }
      store_sums<kVectors>(sums + column * kVectors * V::kLanes);
    }
  }

  // Two tiles, `apart` bytes from one to the other.
  static void load_first(const std::byte* tiles, int64_t apart) {
    Tiles::load<kFirst>(tiles);
    Tiles::load<kFirst + 1>(tiles + apart);
  }
  template <int kVectors>
  static void load_second(const std::byte* tiles, int64_t apart) {
    Tiles::load<kSecond>(tiles);
    if constexpr (kVectors == 2) Tiles::load<kSecond + 1>(tiles + apart);
  }
  template <int kVectors>
  static void zero_sums() {
    Tiles::zero<kSums>();
    Tiles::zero<kSums + 2>();
    if constexpr (kVectors == 2) {
      Tiles::zero<kSums + 1>();
      Tiles::zero<kSums + 3>();
    }
  }
  template <int kVectors>
  static void multiply() {
    Tiles::multiply<kSums, kFirst, kSecond>();
    if constexpr (kVectors == 2) Tiles::multiply<kSums + 1, kFirst, kSecond + 1>();
    Tiles::multiply<kSums + 2, kFirst + 1, kSecond>();
    if constexpr (kVectors == 2) Tiles::multiply<kSums + 3, kFirst + 1, kSecond + 1>();
  }
  // As 32 rows of the panel's width.
  template <int kVectors>
  static void store_sums(float* sums) {
    constexpr int64_t kRow = kVectors * kTileRowBytes;
    auto* const upper = reinterpret_cast<std::byte*>(sums);
    std::byte* const lower = upper + kTileRows * kRow;
    Tiles::store<kSums>(upper, kRow);
    Tiles::store<kSums + 2>(lower, kRow);
    if constexpr (kVectors == 2) {
      Tiles::store<kSums + 1>(upper + kTileRowBytes, kRow);
      Tiles::store<kSums + 3>(lower + kTileRowBytes, kRow);
    }
  }

  std::byte* queries_;  // see query_bytes
  std::byte* keys_;
  std::byte* values_;
  std::byte* weights_;
  float* scores_;     // (kAttentionPartition, the panel's rows); then weights
  float* decoded_;    // (kStep, stride)
  float odd_[kStep];  // not 0 where a value is no number
  Weighed weighed_;
};

}  // namespace
}  // namespace chatglm::kernels
