// Inputs of products in the forms that the kernels read. Host interface; includes no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/args.h"
#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

// Rows of a prepared input lie one after the other, each filled up with zeros to input_cols().
//   kInt8  for up to 16 rows of quantized weights; see int8_input.cuh
//   kF16   (m, input_cols) f16, then (m) f32: x = scale * half. The scale is a power of two that
//          brings the row's largest magnitude into [2^14, 2^15), so dividing by it is exact
//   kBF16  (m, input_cols) bf16
//   kF32   (m, input_cols) f32
// A row with a NaN or an infinity has one in its prepared form too.
enum class InputForm : uint8_t { kInt8, kF16, kBF16, kF32 };

// Int8 rows lie in one way up to this many, in another above.
inline constexpr int64_t kRowwiseInputs = 2;

// From one prepared row to the next, in elements.
constexpr int64_t input_cols(InputForm form, int64_t k) {
  const int64_t multiple = form == InputForm::kF32 ? 8 : form == InputForm::kInt8 ? 32 : 64;
  return (k + multiple - 1) / multiple * multiple;
}

// Enough for prepared rows of every form.
constexpr int64_t prepared_bytes(int64_t rows, int64_t k) {
  return rows * input_cols(InputForm::kF16, k) * static_cast<int64_t>(sizeof(float));
}

// args.prepared: prepared_bytes(m, k), 256-byte aligned. The values are those of rms_norm and
// silu_mul up to the rounding of sums, and never depend on the other rows. early: see launch.cuh.
void prepare_input(const PrepareArgs& args, InputForm form, Stream stream, bool early = false);

}  // namespace chatglm::kernels::cuda
