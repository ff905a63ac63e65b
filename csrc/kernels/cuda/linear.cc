#include "kernels/cuda/linear.h"

#include <algorithm>

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

// The next product's weights are on their way while this one's last blocks still multiply.
bool starts_early(const DeviceTraits& device) {
  return device.compute_capability >= 90;
}

void enqueue(const LinearCall& call, const HeadOutputs& heads, const DeviceTraits& device,
             Stream stream) {
  const bool early = starts_early(device);
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
    gemv(product, heads, stream, early);
  } else {
    gemm(product, device.warpgroups, call.gemm_scratch, stream);
  }
}

bool are_in_y(const LinearCall& call, const RotateAndStoreArgs& heads) {
  const KvStoreArgs& store = heads.store;
  const int64_t queries = heads.queries.heads * heads.queries.head_dim;
  const int64_t keys = store.kv.kv_heads * store.kv.head_dim;
  return heads.queries.x == call.y && store.keys == call.y + queries &&
         store.values == store.keys + keys && heads.keys.x == store.keys &&
         call.weight.n == queries + 2 * keys && store.rows.rows == call.input.m &&
         store.row_stride == call.y_stride && heads.queries.row_stride == call.y_stride &&
         heads.queries.head_dim == store.kv.head_dim && heads.keys.heads == store.kv.kv_heads;
}

// By warps that have some outputs each, whose pairs they have whole but not blocks of a q8_0 cache.
bool can_store_outputs(const LinearCall& call, const RotateAndStoreArgs& heads) {
  const RopeArgs &queries = heads.queries, &keys = heads.keys;
  const PagedKvView& kv = heads.store.kv;
  return call.input.m <= kGemvRows && !call.accumulate && are_in_y(call, heads) &&
         (kv.dtype == DType::kF32 || kv.dtype == DType::kF16) && kv.head_dim % 2 == 0 &&
         queries.pair_span == 2 && keys.pair_span == 2 && keys.cos_sin == queries.cos_sin &&
         keys.rotary_dim == queries.rotary_dim && keys.row_scale == nullptr;
}

}  // namespace

void linear(const LinearCall& call, const DeviceTraits& device, Stream stream) {
  const int64_t at_once = call.fits_half ? call.input.m : kGemvRows;
  for (int64_t first = 0; first < call.input.m; first += at_once) {
    LinearCall rows = call;
    rows.input.x += first * call.input.k * (call.input.gated ? 2 : 1);
    rows.input.m = std::min(at_once, call.input.m - first);
    rows.y += first * call.y_stride;
    enqueue(rows, {}, device, stream);
  }
}

void linear_rotate_store(const LinearCall& call, const RotateAndStoreArgs& heads,
                         const DeviceTraits& device, Stream stream) {
  if (call.input.m == 0) return;
  if (can_store_outputs(call, heads)) {
    enqueue(call,
            {.cache = kv_place(heads.store),
             .query_heads = static_cast<int32_t>(heads.queries.heads),
             .rotary_dim = static_cast<int32_t>(heads.queries.rotary_dim),
             .cos_sin = heads.queries.cos_sin,
             .query_scale = heads.queries.row_scale},
            device, stream);
    return;
  }
  linear(call, device, stream);
  rotate_and_store(heads, stream, starts_early(device));
}

}  // namespace chatglm::kernels::cuda
