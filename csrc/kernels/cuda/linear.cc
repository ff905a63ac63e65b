#include "kernels/cuda/linear.h"

#include <algorithm>

#include "kernels/cuda/product.h"

namespace chatglm::kernels::cuda {
namespace {

// Plain f32 rows that need no copy to be read 16 bytes at a time.
bool is_readable(const PrepareArgs& input) {
  return input.norm_weight == nullptr && !input.gated &&
         input_cols(InputForm::kF32, input.k) == input.k &&
         reinterpret_cast<std::uintptr_t>(input.x) % 16 == 0;
}

const void* prepared_rows(const PrepareArgs& input, InputForm form, Stream stream) {
  if (form == InputForm::kF32 && is_readable(input)) return input.x;
  prepare_input(input, form, stream);
  return input.prepared;
}

InputForm gemv_input_form(const WeightForm& form) {
  return form.is_quantized() ? InputForm::kInt8 : InputForm::kF32;
}

}  // namespace

void linear(const LinearCall& call, const DeviceTraits& device, Stream stream) {
  if (call.input.m == 0) return;
  static_cast<void>(device);
  const PrepareArgs& all = call.input;
  for (int64_t first = 0; first < all.m; first += kGemvRows) {
    PrepareArgs input = all;
    input.x += first * all.k * (all.gated ? 2 : 1);
    input.m = std::min(kGemvRows, all.m - first);
    gemv({.weight = call.weight,
          .x = prepared_rows(input, gemv_input_form(call.weight.form), stream),
          .m = input.m,
          .bias = call.bias,
          .y = call.y + first * call.y_stride,
          .y_stride = call.y_stride,
          .accumulate = call.accumulate},
         stream);
  }
}

}  // namespace chatglm::kernels::cuda
