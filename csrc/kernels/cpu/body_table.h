// Makes the kernel table of a vector type.
#pragma once

#include <string_view>

#include "kernels/cpu/body_attention.h"
#include "kernels/cpu/body_elementwise.h"
#include "kernels/cpu/body_linear_float.h"
#include "kernels/cpu/body_linear_quant.h"
#include "kernels/cpu/body_peak.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/shared_ops.h"
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

namespace chatglm::kernels {

template <class Linear>
constexpr LinearKernel float_kernel(DType dtype) {
  return {dtype,   Linear::kPanelRows, Linear::panel_bytes,  Linear::pack, Linear::input_row_bytes,
          nullptr, Linear::product,    Linear::scratch_bytes};
}

template <class V, QuantForm kForm, auto kOpen, class Block>
constexpr LinearKernel quant_kernel(DType dtype) {
  static_assert(kForm.block == Block::kElements);
  using Linear = QuantLinear<V, kForm, kOpen, static_cast<int64_t>(sizeof(Block))>;
  return {dtype,           Linear::kPanelRows,      Linear::panel_bytes,
          Linear::pack,    Linear::input_row_bytes, Linear::prepare_input,
          Linear::product, Linear::scratch_bytes};
}

// In the order of all_dtypes().
template <class V>
constexpr LinearKernel kLinearKernels[] = {
    float_kernel<FloatLinear<V, F32Weights<V>>>(DType::kF32),
    float_kernel<FloatLinear<V, F16Weights<V>>>(DType::kF16),
    float_kernel<FloatLinear<V, BF16Weights<V>>>(DType::kBF16),
    quant_kernel<V, kQ8_0Form, open_q8_0, BlockQ8_0>(DType::kQ8_0),
    quant_kernel<V, kQ4_0Form, open_q4_0, BlockQ4_0>(DType::kQ4_0),
    quant_kernel<V, kQ4_1Form, open_q4_1, BlockQ4_1>(DType::kQ4_1),
    quant_kernel<V, kQ5_0Form, open_q5_0, BlockQ5_0>(DType::kQ5_0),
    quant_kernel<V, kQ5_1Form, open_q5_1, BlockQ5_1>(DType::kQ5_1),
    quant_kernel<V, kQ2_KForm, open_q2_k, BlockQ2_K>(DType::kQ2_K),
    quant_kernel<V, kQ3_KForm, open_q3_k, BlockQ3_K>(DType::kQ3_K),
    quant_kernel<V, kQ4_KForm, open_q4_k, BlockQ4_K>(DType::kQ4_K),
    quant_kernel<V, kQ5_KForm, open_q5_k, BlockQ5_K>(DType::kQ5_K),
    quant_kernel<V, kQ6_KForm, open_q6_k, BlockQ6_K>(DType::kQ6_K),
    quant_kernel<V, kIQ4_NLForm, open_iq4_nl, BlockIQ4_NL>(DType::kIQ4_NL),
    quant_kernel<V, kIQ4_XSForm, open_iq4_xs, BlockIQ4_XS>(DType::kIQ4_XS),
};

template <class V>
constexpr AttentionKernel attention_kernel() {
  using Body = PagedAttention<V>;
  return {Body::kMostProductRows, Body::scratch_bytes, Body::partial_bytes, Body::attend,
          Body::merge};
}

template <class V>
constexpr KernelTable make_kernel_table(std::string_view name, bool (*supported)()) {
  return {.name = name,
          .supported = supported,
          .linear = kLinearKernels<V>,
          .embed = embed_rows,
          .rms_norm = rms_norm<V>,
          .layer_norm = layer_norm<V>,
          .rope_table = rope_table_rows,
          .rope = rope<V>,
          .kv_store = kv_store_rows,
          .attention = attention_kernel<V>(),
          .silu_mul = silu_mul<V>,
          .gelu = gelu<V>,
          .peak_f32 = peak_f32<V>,
          .peak_int8 = peak_int8<V>,
          .peak_read = peak_read<V>};
}

}  // namespace chatglm::kernels
