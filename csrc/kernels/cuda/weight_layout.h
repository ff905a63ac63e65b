// How weight matrices lie in a GPU's memory, and how rows are brought into that form on the host.
// Host code; knows no CUDA.
//
// A matrix is up to three streams, each row by row in the order of the matrix and each starting at
// a multiple of 256 bytes of one allocation:
//   codes     the weights themselves
//   scales    one for each `part` consecutive weights of a row (quantized forms), f16 or f32
//   minimums  the same, f32, where the form has them
// Rows of codes are multiples of 16 bytes, of scales and minimums of 32, filled up with zeros.
// A weight is scale * code + minimum. Codes of 32 weights lie together:
//   kNibbles  16 bytes: byte j holds code j (low nibble) and code j + 16. Codes 0..15; without
//             minimums the weight is scale * (code - 8)
//   kBytes    32 signed bytes
// Plain weights are kept as stored.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace chatglm::kernels::cuda {

enum class Codes : uint8_t { kF32, kF16, kBF16, kNibbles, kBytes };

struct WeightForm {
  Codes codes;
  int part = 0;              // weights that share a scale: 16 or 32; 0: a plain form, no scales
  bool half_scales = false;  // scales are f16, else f32
  bool minimums = false;

  constexpr bool is_quantized() const { return part > 0; }
  friend constexpr bool operator==(const WeightForm&, const WeightForm&) = default;
};

// The form that weights of a storage type take.
WeightForm weight_form(DType dtype);

inline constexpr int kWeightStreams = 3;  // codes, scales, minimums
inline constexpr int64_t kStreamAlignment = 256;

struct WeightStream {
  int64_t offset;     // bytes from the start of the allocation
  int64_t row_bytes;  // 0: the form has no such stream
};

// n rows of k weights of a storage type, k a multiple of its block.
struct WeightLayout {
  DType dtype;
  WeightForm form;
  int64_t n;
  int64_t k;
  WeightStream streams[kWeightStreams];
  int64_t size_bytes;
};
WeightLayout weight_layout(DType dtype, int64_t n, int64_t k);

// Brings `count` stored rows (count, dtype_info(layout.dtype).row_bytes(layout.k)) into rows
// [first_row, first_row + count) of `packed`, which lies as `layout` says. Any alignment of the
// stored rows will do; calls for different rows may run at once.
//
// To load a matrix piece by piece, pack some of its rows into a small layout of the same type and
// k, then copy each of its streams to streams[i].offset + row * streams[i].row_bytes of the whole.
void pack_rows(const std::byte* stored, int64_t count, const WeightLayout& layout,
               int64_t first_row, std::byte* packed);

// A matrix that lies in a GPU's memory, as kernels see it.
struct DeviceWeight {
  WeightForm form;
  int64_t n;                   // outputs = rows
  int64_t k;                   // inputs
  int64_t codes_row_bytes;     // from one row to the next
  int64_t scales_row_bytes;    // 0: plain
  int64_t minimums_row_bytes;  // 0: none
  const std::byte* codes;      // (n, codes_row_bytes)
  const std::byte* scales;     // (n, k / part) f16 or f32; nullptr: plain
  const std::byte* minimums;   // (n, k / part) f32 or nullptr
};
DeviceWeight device_weight(const WeightLayout& layout, const std::byte* base);

}  // namespace chatglm::kernels::cuda
