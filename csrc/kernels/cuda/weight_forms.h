// The quantized forms of weights as types, for kernels that are compiled once for each of them.
#pragma once

#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

// A type and not a WeightForm itself: nvcc 13 can't name kernels with parameters of class type.
template <Codes kCodesOf, int kPartOf, bool kHalfScales, bool kMinimums>
struct StaticForm {
  static constexpr WeightForm kForm{kCodesOf, kPartOf, kHalfScales, kMinimums};
};

// Calls body.operator()<StaticForm>() for the form that is `form`.
template <typename... Forms>
struct FormList {
  template <typename Body>
  static void call(const WeightForm& form, const Body& body) {
    static_cast<void>(
        ((form == Forms::kForm ? (body.template operator()<Forms>(), true) : false) || ...));
  }
};

// All that weight_form() makes of quantized types.
using QuantizedForms = FormList<StaticForm<Codes::kNibbles, 32, true, false>,   // q4_0
                                StaticForm<Codes::kNibbles, 32, false, true>,   // q4_1, q4_k
                                StaticForm<Codes::kNibbles, 16, false, true>,   // q2_k
                                StaticForm<Codes::kNibbles, 16, false, false>,  // q3_k
                                StaticForm<Codes::kBytes, 32, true, false>,    // q8_0, q5_0, iq4_nl
                                StaticForm<Codes::kBytes, 32, false, true>,    // q5_1, q5_k
                                StaticForm<Codes::kBytes, 32, false, false>,   // iq4_xs
                                StaticForm<Codes::kBytes, 16, false, false>>;  // q6_k

}  // namespace chatglm::kernels::cuda
