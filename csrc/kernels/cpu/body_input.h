// One row of a product's inputs, vector by vector, as PrepareArgs describes it.
#pragma once

#include "kernels/cpu/body_elementwise.h"

namespace chatglm::kernels {

template <class V>
class InputRow {
 public:
  InputRow(const PrepareArgs& args, int64_t row)
      : x_(args.x + row * args.k * (args.gated ? 2 : 1)),
        up_(args.gated ? x_ + args.k : nullptr),
        norm_weight_(args.norm_weight),
        scale_(args.norm_weight == nullptr ? 1.0F : rms_scale<V>(x_, args.k, args.norm_epsilon)) {}

  // Inputs [i, i + kLanes), which must be there.
  typename V::F32 load(int64_t i) const {
    const auto x = V::load(x_ + i);
    if (up_ != nullptr) return silu_times<V>(x, V::load(up_ + i));
    if (norm_weight_ != nullptr)
      return V::mul(V::mul(x, V::set(scale_)), V::load(norm_weight_ + i));
    return x;
  }
  // The first `count` of them, the others 0.
  typename V::F32 load_some(int64_t i, int64_t count) const {
    if (count >= V::kLanes) return load(i);
    const auto x = load_part<V>(x_ + i, count);
    if (up_ != nullptr) return silu_times<V>(x, load_part<V>(up_ + i, count));
    if (norm_weight_ == nullptr) return x;
    return V::mul(V::mul(x, V::set(scale_)), load_part<V>(norm_weight_ + i, count));
  }

 private:
  const float* x_;
  const float* up_;           // or nullptr: not gated
  const float* norm_weight_;  // or nullptr: no norm
  float scale_;
};

}  // namespace chatglm::kernels
