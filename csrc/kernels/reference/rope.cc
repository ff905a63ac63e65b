// Reference rotary embedding: the table of cos and sin, and the rotation.
#include <cmath>

#include "kernels/reference/reference.h"

namespace chatglm::kernels::reference {

std::vector<float> rope_frequencies(int64_t rotary_dim, float theta_base) {
  std::vector<float> frequencies(static_cast<std::size_t>(rotary_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    // Rounded to f32 where PyTorch rounds 1 / theta ** (arange(0, dim, 2) / dim): at large
    // positions the last bit of a frequency is seen.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    const float power = static_cast<float>(std::pow(double{theta_base}, double{exponent}));
    frequencies[i] = 1 / power;
  }
  return frequencies;
}

void rope_table(const RopeTableArgs& args) {
  const std::vector<float> frequencies = rope_frequencies(args.rotary_dim, args.theta_base);
  float* out = args.cos_sin;
  for (int64_t row = 0; row < args.rows; ++row) {
    const float position = static_cast<float>(args.positions[row]) * args.position_scale;
    for (const float frequency : frequencies) {
      const float angle = position * frequency;
      *out++ = static_cast<float>(std::cos(double{angle}));
      *out++ = static_cast<float>(std::sin(double{angle}));
    }
  }
}

void rope(const RopeArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* cos_sin = args.cos_sin + row * args.rotary_dim;
    const double scale = args.row_scale == nullptr ? 1.0 : double{args.row_scale[row]};
    for (int64_t head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.row_stride + head * args.head_dim;
      for (int64_t i = 0; i < args.rotary_dim; i += 2) {
        const double cosine = cos_sin[i], sine = cos_sin[i + 1];
        const double a = x[i], b = x[i + 1];
        x[i] = static_cast<float>((a * cosine - b * sine) * scale);
        x[i + 1] = static_cast<float>((b * cosine + a * sine) * scale);
      }
      for (int64_t i = args.rotary_dim; i < args.head_dim; ++i) {
        x[i] = static_cast<float>(x[i] * scale);
      }
    }
  }
}

}  // namespace chatglm::kernels::reference
