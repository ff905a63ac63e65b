#include "kernels/cuda/half_range.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/float16.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr float kLargestHalf = 65504;

// Magnitudes compare like their bits do, and a NaN is more than all.
template <typename Bits>
Bits largest_magnitude(const WeightStream& stream, int64_t first_row, int64_t count,
                       const std::byte* packed) {
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  const std::byte* const rows = packed + stream.offset + first_row * stream.row_bytes;
  Bits largest = 0;
  // Rows are filled up with zeros.
  for (int64_t at = 0; at < count * stream.row_bytes; at += static_cast<int64_t>(sizeof(Bits))) {
    Bits bits;
    std::memcpy(&bits, rows + at, sizeof(bits));
    largest = std::max(largest, static_cast<Bits>(bits & ~kSign));
  }
  return largest;
}

}  // namespace

bool fits_half(const WeightLayout& layout, int64_t first_row, int64_t count,
               const std::byte* packed) {
  const WeightForm& form = layout.form;
  if (!form.is_quantized()) return true;  // is f16, or is not brought to it
  const WeightStream &scales = layout.streams[1], &minimums = layout.streams[2];
  const float scale =
      form.half_scales
          ? half_to_float(largest_magnitude<uint16_t>(scales, first_row, count, packed))
          : std::bit_cast<float>(largest_magnitude<uint32_t>(scales, first_row, count, packed));
  const float minimum =
      form.minimums
          ? std::bit_cast<float>(largest_magnitude<uint32_t>(minimums, first_row, count, packed))
          : 0.0F;
  // Of a code from its centre, and of the centre, which the minimum is moved by.
  const float codes = form.codes == Codes::kNibbles ? 8 + 8 : 128;
  return scale * codes + minimum <= kLargestHalf;  // false for a NaN
}

}  // namespace chatglm::kernels::cuda
