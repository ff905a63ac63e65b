// Reference SwiGLU gate.
#include <cmath>

#include "kernels/reference/reference.h"

namespace chatglm::kernels::reference {

void silu_mul(const SiluMulArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* gate = args.gate_up + row * 2 * args.cols;
    const float* up = gate + args.cols;
    float* y = args.y + row * args.cols;
    for (int64_t i = 0; i < args.cols; ++i) {
      const double g = gate[i];
      y[i] = static_cast<float>(g / (1 + std::exp(-g)) * up[i]);
    }
  }
}

}  // namespace chatglm::kernels::reference
