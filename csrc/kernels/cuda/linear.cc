#include "kernels/cuda/linear.h"

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/product.h"

namespace chatglm::kernels::cuda {
namespace {

// Plain f32 rows that need no copy to be read 16 bytes at a time.
bool is_readable(const PrepareArgs& input) {
  return input.norm_weight == nullptr && !input.gated &&
         input_cols(InputForm::kF32, input.k) == input.k &&
         reinterpret_cast<std::uintptr_t>(input.x) % 16 == 0;
}

const void* prepared_rows(const PrepareArgs& input, InputForm form, Stream stream, bool early) {
  if (form == InputForm::kF32 && is_readable(input)) return input.x;
  prepare_input(input, form, stream, early);
  return input.prepared;
}

InputForm gemv_input_form(const WeightForm& form) {
  return form.is_quantized() ? InputForm::kInt8 : InputForm::kF32;
}

InputForm gemm_input_form(const WeightForm& form) {
  switch (form.codes) {
    case Codes::kF32:
      return InputForm::kF32;
    case Codes::kBF16:
      return InputForm::kBF16;
    default:
      return InputForm::kF16;
  }
}

}  // namespace

void linear(const LinearCall& call, const DeviceTraits& device, Stream stream) {
  if (call.input.m == 0) return;
  // The next product's weights are on their way while this one's last blocks still multiply.
  const bool early = device.compute_capability >= 90;
  const bool few = call.input.m <= kGemvRows;
  const WeightForm& form = call.weight.form;
  const ProductArgs product{
      .weight = call.weight,
      .x = prepared_rows(call.input, few ? gemv_input_form(form) : gemm_input_form(form), stream,
                         early),
      .m = call.input.m,
      .bias = call.bias,
      .y = call.y,
      .y_stride = call.y_stride,
      .accumulate = call.accumulate};
  if (few) {
    gemv(product, stream, early);
  } else {
    gemm(product, device.warpgroups, call.gemm_scratch, stream);
  }
}

}  // namespace chatglm::kernels::cuda
