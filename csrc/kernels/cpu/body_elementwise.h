// Norms, rotation and activations, row by row. Plain loops where the compiler vectorizes them by
// itself.
#pragma once

#include <cmath>

#include "kernels/cpu/body_common.h"

namespace chatglm::kernels {

// The sum of term(x). In double: exact enough for any row, and no activation is too large to be
// squared.
template <class V, typename Term>
double sum_over(const float* x, int64_t count, const Term& term) {
  constexpr int64_t kSums = 16;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (int64_t j = 0; j < kSums; ++j) sums[j] += term(static_cast<double>(x[i + j]));
  }
  double total = 0;
  for (; i < count; ++i) total += term(static_cast<double>(x[i]));
  for (const double sum : sums) total += sum;
  return total;
}

// 1 / sqrt(mean(x^2) + epsilon)
template <class V>
float rms_scale(const float* x, int64_t count, float epsilon) {
  const double squares = sum_over<V>(x, count, [](double value) { return value * value; });
  const double mean = squares / static_cast<double>(count);
  return static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(epsilon)));
}

template <class V>
void rms_norm(const RmsNormArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = args.x + row * args.cols;
    float* y = args.y + row * args.cols;
    const auto scale = V::set(rms_scale<V>(x, args.cols, args.epsilon));
    int64_t i = 0;
    for (; i + V::kLanes <= args.cols; i += V::kLanes) {
      auto normed = V::mul(V::mul(V::load(x + i), scale), V::load(args.weight + i));
      if (args.accumulate) normed = V::add(normed, V::load(y + i));
      V::store(y + i, normed);
    }
    if (const int64_t rest = args.cols - i; rest > 0) {
      const auto weight = load_part<V>(args.weight + i, rest);
      auto normed = V::mul(V::mul(load_part<V>(x + i, rest), scale), weight);
      if (args.accumulate) normed = V::add(normed, load_part<V>(y + i, rest));
      store_part<V>(y + i, normed, rest);
    }
  }
}

template <class V>
void layer_norm(const LayerNormArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = args.x + row * args.cols;
    float* y = args.y + row * args.cols;
    float* scaled = args.scaled == nullptr ? nullptr : args.scaled + row * args.cols;
    const auto count = static_cast<double>(args.cols);
    const double mean = sum_over<V>(x, args.cols, [](double value) { return value; }) / count;
    const double squares =
        sum_over<V>(x, args.cols, [mean](double value) { return (value - mean) * (value - mean); });
    const auto center = V::set(static_cast<float>(mean));
    const auto inverse = V::set(
        static_cast<float>(1.0 / std::sqrt(squares / count + static_cast<double>(args.epsilon))));
    const auto factor = V::set(args.scale);
    for (int64_t i = 0; i < args.cols; i += V::kLanes) {
      const int64_t rest = args.cols - i;
      const auto normed = V::mul(V::sub(load_some<V>(x + i, rest), center), inverse);
      const auto result = V::add(V::mul(normed, load_some<V>(args.weight + i, rest)),
                                 load_some<V>(args.bias + i, rest));
      if (scaled != nullptr) store_some<V>(scaled + i, V::mul(result, factor), rest);
      store_some<V>(y + i, result, rest);
    }
  }
}

// Rotates x[i] against x[i + distance] for `count` pairs.
template <class V>
void rotate_pairs(float* x, int64_t count, int64_t step, int64_t distance, const float* cos_sin,
                  float scale) {
  for (int64_t pair = 0; pair < count; ++pair) {
    float* first = x + pair * step;
    const float a = first[0], b = first[distance];
    const float cosine = cos_sin[2 * pair], sine = cos_sin[2 * pair + 1];
    first[0] = (a * cosine - b * sine) * scale;
    first[distance] = (b * cosine + a * sine) * scale;
  }
}

template <class V>
void rope(const RopeArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* cos_sin = args.cos_sin + row * args.rotary_dim;
    const float scale = args.row_scale == nullptr ? 1.0F : args.row_scale[row];
    for (int64_t head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.row_stride + head * args.head_dim;
      if (args.pair_span == 2) {
        rotate_pairs<V>(x, args.rotary_dim / 2, 2, 1, cos_sin, scale);
      } else {
        const int64_t half = args.pair_span / 2;
        for (int64_t i = 0; i < args.rotary_dim; i += args.pair_span) {
          rotate_pairs<V>(x + i, half, 1, half, cos_sin + i, scale);
        }
      }
      for (int64_t i = args.rotary_dim; i < args.head_dim; ++i) x[i] *= scale;
    }
  }
}

// x / (1 + e^minus_z)
template <class V>
typename V::F32 times_sigmoid(typename V::F32 x, typename V::F32 minus_z) {
  return V::div(x, V::add(V::set(1.0F), vector_exp<V>(minus_z)));
}

template <class V>
typename V::F32 silu_times(typename V::F32 gate, typename V::F32 up) {
  return V::mul(times_sigmoid<V>(gate, V::sub(V::set(0.0F), gate)), up);
}

// (1 + tanh(u)) / 2 is the sigmoid of 2u.
template <class V>
typename V::F32 gelu_of(typename V::F32 x) {
  constexpr float kMinusTwoRoots = -1.59576912F;  // -2 sqrt(2 / pi)
  const auto cubic = V::mul(V::mul(V::set(kMinusTwoRoots * 0.044715F), x), V::mul(x, x));
  return times_sigmoid<V>(x, V::fma(V::set(kMinusTwoRoots), x, cubic));
}

template <class V>
void gelu(const GeluArgs& args, int64_t begin, int64_t end) {
  const float* x = args.x + begin * args.cols;
  float* y = args.y + begin * args.cols;
  const int64_t count = (end - begin) * args.cols;
  for (int64_t i = 0; i < count; i += V::kLanes) {
    store_some<V>(y + i, gelu_of<V>(load_some<V>(x + i, count - i)), count - i);
  }
}

template <class V>
void silu_mul(const SiluMulArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* gate = args.gate_up + row * 2 * args.cols;
    const float* up = gate + args.cols;
    float* y = args.y + row * args.cols;
    int64_t i = 0;
    for (; i + V::kLanes <= args.cols; i += V::kLanes) {
      V::store(y + i, silu_times<V>(V::load(gate + i), V::load(up + i)));
    }
    if (const int64_t rest = args.cols - i; rest > 0) {
      store_part<V>(y + i, silu_times<V>(load_part<V>(gate + i, rest), load_part<V>(up + i, rest)),
                    rest);
    }
  }
}

}  // namespace chatglm::kernels
