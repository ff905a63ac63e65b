// RMS norm: one block a row.
#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 256;

struct Shared {
  float partial[kThreads / kWarpLanes];
};

__global__ void __launch_bounds__(kThreads) rms_norm_kernel(const RmsNormArgs args) {
  Shared& shared = shared_memory<Shared>();
  const int64_t begin = int64_t{blockIdx.x} * args.cols;
  const float* x = args.x + begin;  // (cols)
  float* y = args.y + begin;        // (cols)
  float squares = 0;
  for (int64_t i = threadIdx.x; i < args.cols; i += kThreads) {
    squares = fmaf(x[i], x[i], squares);
  }
  const float mean = block_sum(squares, shared.partial) / static_cast<float>(args.cols);
  const float inverse = 1 / sqrtf(mean + args.epsilon);
  for (int64_t i = threadIdx.x; i < args.cols; i += kThreads) {
    const float normed = x[i] * inverse * args.weight[i];
    y[i] = args.accumulate ? y[i] + normed : normed;
  }
}

}  // namespace

void rms_norm(const RmsNormArgs& args, Stream stream) {
  if (args.rows == 0) return;
  launch(rms_norm_kernel, dim3(static_cast<unsigned>(args.rows)), kThreads, sizeof(Shared), stream,
         args);
}

}  // namespace chatglm::kernels::cuda
