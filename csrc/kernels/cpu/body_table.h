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

// Makes the entry of a storage type from the bodies.
template <class V>
struct VectorKernels {
  template <DType kType, class Weights>
  static constexpr LinearKernel of_floats() {
    using Linear = FloatLinear<V, Weights>;
    return {kType,           Linear::kPanelRows,      Linear::panel_bytes,
            Linear::pack,    Linear::input_row_bytes, nullptr,
            Linear::product, Linear::scratch_bytes};
  }
  template <DType kType, QuantForm kForm, auto kOpen, class Block>
  static constexpr LinearKernel of_quants() {
    static_assert(kForm.block == Block::kElements);
    using Linear = QuantLinear<V, kForm, kOpen, static_cast<int64_t>(sizeof(Block))>;
    return {kType,           Linear::kPanelRows,      Linear::panel_bytes,
            Linear::pack,    Linear::input_row_bytes, Linear::prepare_input,
            Linear::product, Linear::scratch_bytes};
  }
};

// In the order of all_dtypes().
template <class V, class Make = VectorKernels<V>>
constexpr LinearKernel kLinearKernels[] = {
    Make::template of_floats<DType::kF32, F32Weights<V>>(),
    Make::template of_floats<DType::kF16, F16Weights<V>>(),
    Make::template of_floats<DType::kBF16, BF16Weights<V>>(),
    Make::template of_quants<DType::kQ8_0, kQ8_0Form, open_q8_0, BlockQ8_0>(),
    Make::template of_quants<DType::kQ4_0, kQ4_0Form, open_q4_0, BlockQ4_0>(),
    Make::template of_quants<DType::kQ4_1, kQ4_1Form, open_q4_1, BlockQ4_1>(),
    Make::template of_quants<DType::kQ5_0, kQ5_0Form, open_q5_0, BlockQ5_0>(),
    Make::template of_quants<DType::kQ5_1, kQ5_1Form, open_q5_1, BlockQ5_1>(),
    Make::template of_quants<DType::kQ2_K, kQ2_KForm, open_q2_k, BlockQ2_K>(),
    Make::template of_quants<DType::kQ3_K, kQ3_KForm, open_q3_k, BlockQ3_K>(),
    Make::template of_quants<DType::kQ4_K, kQ4_KForm, open_q4_k, BlockQ4_K>(),
    Make::template of_quants<DType::kQ5_K, kQ5_KForm, open_q5_k, BlockQ5_K>(),
    Make::template of_quants<DType::kQ6_K, kQ6_KForm, open_q6_k, BlockQ6_K>(),
    Make::template of_quants<DType::kIQ4_NL, kIQ4_NLForm, open_iq4_nl, BlockIQ4_NL>(),
    Make::template of_quants<DType::kIQ4_XS, kIQ4_XSForm, open_iq4_xs, BlockIQ4_XS>(),
};

template <class V>
constexpr AttentionKernel attention_kernel() {
  using Body = PagedAttention<V>;
  return {Body::most_product_rows, Body::scratch_bytes, Body::partial_bytes, Body::attend,
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
