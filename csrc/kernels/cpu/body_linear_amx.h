// Products of many rows on AMX: y = x W^T in bf16 with f32 sums.
//
// x is prepared as tiles of bf16: for every 16 rows (the last may be fewer) the tiles (k / 32,
// rows, 32), each contiguous, so that no two rows of a tile fall into one set of the cache. Weights
// are opened to bf16 tiles (body_amx_weights.h) for kSteps * 32 inputs of two column tiles (32
// outputs) at a time, while the ones before are being multiplied: two buffers, so that no tile is
// loaded right after it was written, and the opening hides behind the tile unit.
//
// Counted for 512 rows, per 32 outputs and 32 inputs: 16 pairs of row tiles, each 4 tile products
// of 16 cycles = 1024 cycles; beside them 2 tiles to open (2 * 16 * 4.3 = 138 cycles of other
// ports, hidden). A pair of row tiles loads 4 KB a step (32 cycles of load ports under 64 of
// products). The first-level cache holds the opened weights (16 KB), a row pair's x of kSteps (16
// KB) and its sums (4 KB). The sums of all rows leave and return every kSteps steps: 8 tile moves
// beside 512 cycles of products, which the next pair's products overlap; and the second level
// brings 16 KB of x and 4 KB of sums in and 4 KB out in these 512 cycles: 48 bytes a cycle, the
// tightest of all. kGroup pairs of columns share x while it lies in the second level: 256 KB for
// 512 rows.
#pragma once

#include "kernels/cpu/body_amx_weights.h"

namespace chatglm::kernels {
namespace {

// Products of at most this many rows are left to dot products: opening weights costs about 8 of
// their rows.
inline constexpr int64_t kFewRows = 16;

struct AmxInput {
  static int64_t row_bytes(int64_t k) { return round_up<Avx512Vnni>(k, kTileInputs) * 2; }

  static void prepare(const PrepareArgs& args, int64_t begin, int64_t end) {
    const __m512i order = order_of_pairs();
    for (int64_t row = begin; row < end; ++row) {
      const InputRow<Avx512Vnni> input(args, row);
      const int64_t first = row / kTileRows * kTileRows;
      const int64_t tile_bytes = rows_from(first, args.m) * kTileRowBytes;
      std::byte* out = args.prepared + first * row_bytes(args.k) + (row - first) * kTileRowBytes;
      for (int64_t i = 0; i < args.k; i += kTileInputs, out += tile_bytes) {
        const int64_t left = args.k - i;
        const __m512 low = input.load_some(i, left);
        const __m512 high = left > 16 ? input.load_some(i + 16, left - 16) : Avx512Vnni::set(0.0F);
        store_row(out, 0, _mm512_permutexvar_epi16(order, to_bf16(low, high)));
      }
    }
  }

  // Of the tile that begins at row `first` of m.
  static int64_t rows_from(int64_t first, int64_t m) {
    return m - first < kTileRows ? m - first : kTileRows;
  }

 private:
  // As the weights' pairs are: the middle two of four change places.
  static __m512i order_of_pairs() {
    alignas(64) static constexpr uint16_t kPlaces[32] = {0,  2,  1,  3,  4,  6,  5,  7,  8,  10, 9,
                                                         11, 12, 14, 13, 15, 16, 18, 17, 19, 20, 22,
                                                         21, 23, 24, 26, 25, 27, 28, 30, 29, 31};
    return _mm512_load_si512(kPlaces);
  }
};

template <class Weights>
class AmxLinear {
 public:
  static int64_t scratch_bytes(int64_t m) {
    const int64_t rows = m < kMostRows ? m : kMostRows;
    return 2 * kOpenedBytes + kGroup * pairs(rows) * kSumsBytes;
  }

  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    const int64_t columns = (args.n + kTileRows - 1) / kTileRows;
    const int64_t end_column = end * Weights::kPanelTiles;
    AmxLinear linear(args);
    linear.begin_ = begin * Weights::kPanelTiles;
    linear.end_ = end_column < columns ? end_column : columns;
    if (linear.begin_ >= linear.end_) return;
    // Parts of about the same size, of whole pairs of row tiles.
    const int64_t parts = (args.m + kMostRows - 1) / kMostRows;
    const int64_t rows = pairs((args.m + parts - 1) / parts) * 2 * kTileRows;
    for (int64_t first = 0; first < args.m; first += rows) {
      linear.first_row_ = first;
      linear.rows_ = args.m - first < rows ? args.m - first : rows;
      linear.multiply_rows();
    }
    Tiles::release();
  }

 private:
  static constexpr int64_t kMostRows = 512;  // whose sums are kept at a time
  static constexpr int64_t kSteps = 8;       // of 32 inputs, opened at a time
  static constexpr int64_t kGroup = 8;       // pairs of column tiles
  static constexpr int64_t kOpenedBytes = kSteps * 2 * kTileBytes;
  static constexpr int64_t kSumsBytes =
      4 * kTileBytes;  // of a pair of row by a pair of column tiles

  // The tile registers.
  static constexpr int kSums = 0;  // 4: of row tile r and column tile c at 2 r + c
  static constexpr int kInputs = 4, kOpened = 6;

  // The weights opened at a time: one or two column tiles, some steps.
  struct Block {
    int64_t column, columns;
    int64_t step, steps;
    int64_t slot;  // of its pair in the group: where its sums are
    int64_t tiles() const { return columns * steps; }
  };

  static int64_t pairs(int64_t rows) { return (rows + 2 * kTileRows - 1) / (2 * kTileRows); }

  explicit AmxLinear(const LinearArgs& args)
      : args_(args), all_steps_((args.k + kTileInputs - 1) / kTileInputs) {}

  Block first_block() const { return block_at(begin_, 0, 0); }
  Block block_at(int64_t column, int64_t step, int64_t slot) const {
    return {column, end_ - column < 2 ? end_ - column : 2, step,
            all_steps_ - step < kSteps ? all_steps_ - step : kSteps, slot};
  }
  // The pairs of a group for one range of steps, then for the next; then the next group. No tiles
  // after the last one.
  Block after(const Block& block) const {
    const int64_t next = block.column + 2, group = block.column - 2 * block.slot;
    if (next < end_ && block.slot + 1 < kGroup) return block_at(next, block.step, block.slot + 1);
    const int64_t step = block.step + block.steps;
    if (step < all_steps_) return block_at(group, step, 0);
    if (next < end_) return block_at(next, 0, 0);
    return {};
  }

  void multiply_rows() {
    std::byte* opened = args_.scratch;
    std::byte* opening = args_.scratch + kOpenedBytes;
    Block block = first_block();
    next_ = block;
    open_rest(opened);
    while (block.tiles() > 0) {
      next_ = after(block);
      next_tile_ = 0;
      multiply_block(block, opened, opening);
      open_rest(opening);
      block = next_;
      std::byte* const free = opened;
      opened = opening;
      opening = free;
    }
    next_tile_ = 0;
  }

  void open_rest(std::byte* opening) {
    while (next_tile_ < next_.tiles()) open_one(opening);
  }
  // Out of line: its registers are none of the loop's around it.
  [[gnu::noinline]] void open_one(std::byte* opening) {
    const int64_t step = next_tile_ / next_.columns, column = next_tile_ % next_.columns;
    Weights::open_tile(args_.packed, args_.k, next_.column + column, next_.step + step,
                       opening + (2 * step + column) * kTileBytes);
    ++next_tile_;
  }

  // All rows times a block, while the next block's tiles are opened at an even pace.
  void multiply_block(const Block& block, const std::byte* opened, std::byte* opening) {
    std::byte* sums = args_.scratch + 2 * kOpenedBytes + block.slot * pairs(rows_) * kSumsBytes;
    const bool last = block.step + block.steps == all_steps_;
    steps_before_next_ = 0;
    for (int64_t row = 0; row < rows_; row += 2 * kTileRows, sums += kSumsBytes) {
      const int64_t upper = AmxInput::rows_from(row, rows_);
      const int64_t lower =
          rows_ - row > kTileRows ? AmxInput::rows_from(row + kTileRows, rows_) : 0;
      configure(upper, lower);
      if (lower > 0 && block.columns == 2) {
        multiply<2, 2>(block, row, opened, sums, opening);
      } else if (lower > 0) {
        multiply<2, 1>(block, row, opened, sums, opening);
      } else if (block.columns == 2) {
        multiply<1, 2>(block, row, opened, sums, opening);
      } else {
        multiply<1, 1>(block, row, opened, sums, opening);
      }
      if (last && row > 0) finish(block, row - 2 * kTileRows, sums - kSumsBytes);
    }
    // One pair late, when its sums have arrived in the cache.
    const int64_t row = (pairs(rows_) - 1) * 2 * kTileRows;
    if (last) finish(block, row, sums - kSumsBytes);
  }

  // Row tiles of `upper` and `lower` rows (0: not used).
  void configure(int64_t upper, int64_t lower) {
    if (upper == configured_[0] && lower == configured_[1]) return;
    configured_[0] = upper;
    configured_[1] = lower;
    TileConfig config;
    const auto set = [&](int tile, int64_t rows) {
      config.rows[tile] = static_cast<uint8_t>(rows);
      config.row_bytes[tile] = rows > 0 ? kTileRowBytes : 0;
    };
    const int64_t rows[2] = {upper, lower};
    for (int r = 0; r < 2; ++r) {
      for (int c = 0; c < 2; ++c) set(kSums + 2 * r + c, rows[r]);
      set(kInputs + r, rows[r]);
      set(kOpened + r, kTileRows);
    }
    Tiles::configure(config);
  }

  template <int kRowTiles, int kColumns>
  void multiply(const Block& block, int64_t row, const std::byte* weights, std::byte* sums,
                std::byte* opening) {
    const std::byte* x[2];
    int64_t x_bytes[2];  // of a tile
    for (int r = 0; r < kRowTiles; ++r) {
      const int64_t first = first_row_ + row + r * kTileRows;
      x_bytes[r] = AmxInput::rows_from(first, args_.m) * kTileRowBytes;
      x[r] = static_cast<const std::byte*>(args_.x) + first * AmxInput::row_bytes(args_.k) +
             block.step * x_bytes[r];
    }
    move_sums<kRowTiles, kColumns, false>(sums, block.step == 0);
    // Tiles to open for a step, as a fraction: all of them in the steps of all rows.
    const int64_t to_open = next_.tiles(), paced = pairs(rows_) * block.steps;
    int64_t due = steps_before_next_;
    for (int64_t step = 0; step < block.steps; ++step) {
      for (due += to_open; due >= paced; due -= paced) open_one(opening);
      Tiles::load<kOpened>(weights);
      Tiles::load<kInputs>(x[0]);
      Tiles::multiply<kSums, kInputs, kOpened>();
      if constexpr (kColumns == 2) {
        Tiles::load<kOpened + 1>(weights + kTileBytes);
        Tiles::multiply<kSums + 1, kInputs, kOpened + 1>();
      }
      if constexpr (kRowTiles == 2) {
        Tiles::load<kInputs + 1>(x[1]);
        Tiles::multiply<kSums + 2, kInputs + 1, kOpened>();
        if constexpr (kColumns == 2) Tiles::multiply<kSums + 3, kInputs + 1, kOpened + 1>();
      }
      weights += 2 * kTileBytes;
      for (int r = 0; r < kRowTiles; ++r) {
        x[r] += x_bytes[r];
        prefetch(x[r] + x_bytes[r], x_bytes[r]);
      }
    }
    steps_before_next_ = due;
    move_sums<kRowTiles, kColumns, true>(sums, false);
  }

  // The tile after the next one, from the second-level cache.
  static void prefetch(const std::byte* tile, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(tile + at);
  }

  template <int kRowTiles, int kColumns, bool kStore>
  static void move_sums(std::byte* sums, bool zero) {
    move_sum<0, kStore>(sums, zero);
    if constexpr (kColumns == 2) move_sum<1, kStore>(sums, zero);
    if constexpr (kRowTiles == 2) move_sum<2, kStore>(sums, zero);
    if constexpr (kRowTiles == 2 && kColumns == 2) move_sum<3, kStore>(sums, zero);
  }
  template <int kTile, bool kStore>
  static void move_sum(std::byte* sums, bool zero) {
    if constexpr (kStore) {
      Tiles::store<kSums + kTile>(sums + kTile * kTileBytes);
    } else if (zero) {
      Tiles::zero<kSums + kTile>();
    } else {
      Tiles::load<kSums + kTile>(sums + kTile * kTileBytes);
    }
  }

  // Rows from `row` on, whose sums are whole.
  void finish(const Block& block, int64_t row, const std::byte* sums) const {
    const int64_t count = rows_ - row < 2 * kTileRows ? rows_ - row : 2 * kTileRows;
    for (int64_t r = 0; r < count; ++r) {
      const std::byte* tile = sums + r / kTileRows * 2 * kTileBytes + r % kTileRows * kTileRowBytes;
      for (int64_t c = 0; c < block.columns; ++c, tile += kTileBytes) {
        finish_outputs<Avx512Vnni>(args_, first_row_ + row + r, (block.column + c) * kTileRows,
                                   Avx512Vnni::load(reinterpret_cast<const float*>(tile)));
      }
    }
  }

  const LinearArgs& args_;
  const int64_t all_steps_;
  int64_t begin_ = 0, end_ = 0;  // column tiles
  int64_t first_row_ = 0, rows_ = 0;
  int64_t configured_[2] = {0, 0};
  Block next_{};           // being opened
  int64_t next_tile_ = 0;  // of it
  int64_t steps_before_next_ = 0;
};

}  // namespace
}  // namespace chatglm::kernels
