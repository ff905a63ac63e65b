#include "kernels/cuda/weight_layout.h"

#include <cstring>

#include "base/ceil_div.h"
#include "tensor/iq4_nl.h"
#include "tensor/iq4_xs.h"
#include "tensor/q2_k.h"
#include "tensor/q3_k.h"
#include "tensor/q4_0.h"
#include "tensor/q4_1.h"
#include "tensor/q4_k.h"
#include "tensor/q5_0.h"
#include "tensor/q5_1.h"
#include "tensor/q5_k.h"
#include "tensor/q6_k.h"
#include "tensor/q8_0.h"
#include "tensor/quant_codec.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr int64_t kBlock = 32;  // codes that lie together
constexpr int64_t kRowAlignment = 16;
// So that a kernel can copy the scales of any four blocks at once, 8 to 32 bytes.
constexpr int64_t kScalesAlignment = 32;

int64_t round_up(int64_t value, int64_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

// Where one row goes.
struct PackedRow {
  std::byte* codes;
  std::byte* scales;
  std::byte* minimums;
};
using PackRow = void (*)(const std::byte* stored, int64_t k, const PackedRow& row);

// Signed bytes for what nibbles can't hold.
constexpr bool takes_bytes(const QuantForm& form) {
  return form.bits > 4 || form.table;
}

constexpr WeightForm form_of(const QuantForm& form) {
  return {.codes = takes_bytes(form) ? Codes::kBytes : Codes::kNibbles,
          .part = static_cast<int>(form.part),
          .half_scales = !form.scales && !form.minimum,  // as stored
          .minimums = form.minimum};
}

void pack_plain(const std::byte* stored, int64_t bytes, std::byte* codes) {
  std::memcpy(codes, stored, static_cast<std::size_t>(bytes));
  std::memset(codes + bytes, 0, static_cast<std::size_t>(round_up(bytes, kRowAlignment) - bytes));
}
void pack_f32(const std::byte* stored, int64_t k, const PackedRow& row) {
  pack_plain(stored, 4 * k, row.codes);
}
void pack_16_bits(const std::byte* stored, int64_t k, const PackedRow& row) {
  pack_plain(stored, 2 * k, row.codes);
}

// Q4_0 and Q8_0: a scale, then the codes as they are wanted.
template <typename Block>
void pack_direct(const std::byte* stored, int64_t k, const PackedRow& row) {
  static_assert(offsetof(Block, scale) == 0 && offsetof(Block, quants) == sizeof(Half));
  constexpr std::size_t kCodeBytes = sizeof(Block::quants);
  for (int64_t b = 0; b < k / kBlock; ++b) {
    const std::byte* block = stored + b * static_cast<int64_t>(sizeof(Block));
    std::memcpy(row.scales + b * static_cast<int64_t>(sizeof(Half)), block, sizeof(Half));
    std::memcpy(row.codes + b * static_cast<int64_t>(kCodeBytes), block + sizeof(Half), kCodeBytes);
  }
}

template <typename T>
void put(std::byte* values, int64_t index, T value) {
  std::memcpy(values + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

// 32 opened codes.
template <QuantForm kForm>
void pack_codes(const uint8_t* codes, std::byte* packed) {
  uint8_t bytes[kBlock];
  if constexpr (takes_bytes(kForm)) {
    for (int i = 0; i < kBlock; ++i) bytes[i] = static_cast<uint8_t>(code_value<kForm>(codes[i]));
    std::memcpy(packed, bytes, kBlock);
  } else {
    // Where there is no minimum the kernels take off 8, whatever the type's own offset is.
    constexpr int kMore = kForm.minimum ? 0 : 8 - kForm.offset;
    for (int j = 0; j < kBlock / 2; ++j) {
      bytes[j] = static_cast<uint8_t>((codes[j] + kMore) | (codes[j + kBlock / 2] + kMore) << 4);
    }
    std::memcpy(packed, bytes, kBlock / 2);
  }
}

template <QuantForm kForm, auto kOpen, typename Block>
void pack_opened(const std::byte* stored, int64_t k, const PackedRow& row) {
  static_assert(!kForm.minimum || kForm.offset == 0);
  constexpr int64_t kParts = kForm.block / kForm.part;
  constexpr int64_t kCodeBytes = takes_bytes(kForm) ? kBlock : kBlock / 2;
  OpenBlock opened;
  for (int64_t b = 0; b < k / kForm.block; ++b) {
    kOpen(stored + b * static_cast<int64_t>(sizeof(Block)), opened);
    for (int64_t i = 0; i < kForm.block / kBlock; ++i) {
      pack_codes<kForm>(opened.codes + i * kBlock,
                        row.codes + (b * kForm.block / kBlock + i) * kCodeBytes);
    }
    for (int64_t p = 0; p < kParts; ++p) {
      if constexpr (form_of(kForm).half_scales) {
        put(row.scales, b * kParts + p, opened.scale);
      } else {
        const float scale = half_to_float(opened.scale);
        put(row.scales, b * kParts + p,
            kForm.scales ? scale * static_cast<float>(opened.scales[p]) : scale);
      }
      if constexpr (kForm.minimum) {
        const float minimum = half_to_float(opened.minimum);
        put(row.minimums, b * kParts + p,
            kForm.minimums ? minimum * static_cast<float>(opened.minimums[p]) : minimum);
      }
    }
  }
}

struct TypeLayout {
  WeightForm form;
  PackRow pack;
};

template <QuantForm kForm, auto kOpen, typename Block>
constexpr TypeLayout opened() {
  return {form_of(kForm), pack_opened<kForm, kOpen, Block>};
}

TypeLayout type_layout(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {{.codes = Codes::kF32}, pack_f32};
    case DType::kF16:
      return {{.codes = Codes::kF16}, pack_16_bits};
    case DType::kBF16:
      return {{.codes = Codes::kBF16}, pack_16_bits};
    case DType::kQ8_0:
      return {form_of(kQ8_0Form), pack_direct<BlockQ8_0>};
    case DType::kQ4_0:
      return {form_of(kQ4_0Form), pack_direct<BlockQ4_0>};
    case DType::kQ4_1:
      return opened<kQ4_1Form, open_q4_1, BlockQ4_1>();
    case DType::kQ5_0:
      return opened<kQ5_0Form, open_q5_0, BlockQ5_0>();
    case DType::kQ5_1:
      return opened<kQ5_1Form, open_q5_1, BlockQ5_1>();
    case DType::kQ2_K:
      return opened<kQ2_KForm, open_q2_k, BlockQ2_K>();
    case DType::kQ3_K:
      return opened<kQ3_KForm, open_q3_k, BlockQ3_K>();
    case DType::kQ4_K:
      return opened<kQ4_KForm, open_q4_k, BlockQ4_K>();
    case DType::kQ5_K:
      return opened<kQ5_KForm, open_q5_k, BlockQ5_K>();
    case DType::kQ6_K:
      return opened<kQ6_KForm, open_q6_k, BlockQ6_K>();
    case DType::kIQ4_NL:
      return opened<kIQ4_NLForm, open_iq4_nl, BlockIQ4_NL>();
    case DType::kIQ4_XS:
      return opened<kIQ4_XSForm, open_iq4_xs, BlockIQ4_XS>();
  }
  return {};  // no other value exists
}

int64_t codes_row_bytes(Codes codes, int64_t k) {
  switch (codes) {
    case Codes::kF32:
      return round_up(4 * k, kRowAlignment);
    case Codes::kF16:
    case Codes::kBF16:
      return round_up(2 * k, kRowAlignment);
    case Codes::kNibbles:
      return k / 2;
    case Codes::kBytes:
      return k;
  }
  return 0;  // no other value exists
}

}  // namespace

WeightForm weight_form(DType dtype) {
  return type_layout(dtype).form;
}

WeightLayout weight_layout(DType dtype, int64_t n, int64_t k) {
  const WeightForm form = weight_form(dtype);
  WeightLayout layout{.dtype = dtype, .form = form, .n = n, .k = k, .streams = {}, .size_bytes = 0};
  const int64_t parts = form.is_quantized() ? k / form.part : 0;
  const int64_t row_bytes[kWeightStreams] = {
      codes_row_bytes(form.codes, k),
      round_up(parts * (form.half_scales ? 2 : 4), kScalesAlignment),
      form.minimums ? round_up(parts * 4, kScalesAlignment) : 0};
  for (int i = 0; i < kWeightStreams; ++i) {
    layout.streams[i] = {.offset = layout.size_bytes, .row_bytes = row_bytes[i]};
    layout.size_bytes = round_up(layout.size_bytes + n * row_bytes[i], kStreamAlignment);
  }
  return layout;
}

void pack_rows(const std::byte* stored, int64_t count, const WeightLayout& layout,
               int64_t first_row, std::byte* packed) {
  const PackRow pack = type_layout(layout.dtype).pack;
  const int64_t stored_row_bytes = dtype_info(layout.dtype).row_bytes(layout.k);
  for (int64_t i = 0; i < count; ++i) {
    const auto place = [&](const WeightStream& stream) {
      return packed + stream.offset + (first_row + i) * stream.row_bytes;
    };
    for (const WeightStream& stream : {layout.streams[1], layout.streams[2]}) {
      std::memset(place(stream), 0, static_cast<std::size_t>(stream.row_bytes));
    }
    pack(stored + i * stored_row_bytes, layout.k,
         {place(layout.streams[0]), place(layout.streams[1]), place(layout.streams[2])});
  }
}

DeviceWeight device_weight(const WeightLayout& layout, const std::byte* base) {
  const auto place = [&](const WeightStream& stream) {
    return stream.row_bytes > 0 ? base + stream.offset : nullptr;
  };
  return {.form = layout.form,
          .n = layout.n,
          .k = layout.k,
          .codes_row_bytes = layout.streams[0].row_bytes,
          .scales_row_bytes = layout.streams[1].row_bytes,
          .minimums_row_bytes = layout.streams[2].row_bytes,
          .codes = place(layout.streams[0]),
          .scales = place(layout.streams[1]),
          .minimums = place(layout.streams[2])};
}

}  // namespace chatglm::kernels::cuda
