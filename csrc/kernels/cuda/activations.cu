// SwiGLU's gate and GELU, element by element, with exponentials of full precision.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/row_slices.cuh"

namespace chatglm::kernels::cuda {
namespace {

__global__ void __launch_bounds__(kSliceThreads) silu_mul_kernel(const SiluMulArgs args) {
  const float* gate = args.gate_up + blockIdx.x * 2 * args.cols;  // (cols)
  const float* up = gate + args.cols;                             // (cols)
  float* y = args.y + blockIdx.x * args.cols;                     // (cols)
  for_slice(args.cols, [&](int64_t i) { y[i] = gate[i] / (1 + expf(-gate[i])) * up[i]; });
}

__global__ void __launch_bounds__(kSliceThreads) gelu_kernel(const GeluArgs args) {
  constexpr float kTwiceRootOfTwoOverPi = 1.5957691216057308f;
  const int64_t begin = blockIdx.x * args.cols;
  for_slice(args.cols, [&](int64_t i) {
    const float x = args.x[begin + i];
    const float twice_inner = kTwiceRootOfTwoOverPi * x * fmaf(0.044715f * x, x, 1.0f);
    // x / 2 * (1 + tanh(inner)), without the cancellation.
    args.y[begin + i] = x / (1 + expf(-twice_inner));
  });
}

}  // namespace

void silu_mul(const SiluMulArgs& args, Stream stream) {
  if (args.rows == 0) return;
  launch(silu_mul_kernel, slice_grid(args.rows, args.cols), kSliceThreads, 0, stream, args);
}

void gelu(const GeluArgs& args, Stream stream) {
  if (args.rows == 0) return;
  launch(gelu_kernel, slice_grid(args.rows, args.cols), kSliceThreads, 0, stream, args);
}

}  // namespace chatglm::kernels::cuda
