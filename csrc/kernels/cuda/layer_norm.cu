// Layer norm: one block a row. Sums are f64: a row may be far from zero, and few models have it.
#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 256;

struct Shared {
  double partial[kThreads / kWarpLanes];
};

__global__ void __launch_bounds__(kThreads) layer_norm_kernel(const LayerNormArgs args) {
  Shared& shared = shared_memory<Shared>();
  const int64_t begin = blockIdx.x * args.cols;
  const float* x = args.x + begin;  // (cols)
  double sum = 0;
  for (int64_t i = threadIdx.x; i < args.cols; i += kThreads) sum += x[i];
  const double mean = block_sum(sum, shared.partial) / static_cast<double>(args.cols);
  double squares = 0;
  for (int64_t i = threadIdx.x; i < args.cols; i += kThreads) {
    const double centered = x[i] - mean;
    squares += centered * centered;
  }
  const double variance = block_sum(squares, shared.partial) / static_cast<double>(args.cols);
  const auto inverse = static_cast<float>(1 / sqrt(variance + args.epsilon));
  for (int64_t i = threadIdx.x; i < args.cols; i += kThreads) {
    const auto centered = static_cast<float>(x[i] - mean);
    const float normed = centered * inverse * args.weight[i] + args.bias[i];
    // Either may be where x was: this thread alone reads and writes the place.
    args.y[begin + i] = normed;
    if (args.scaled != nullptr) args.scaled[begin + i] = normed * args.scale;
  }
}

}  // namespace

void layer_norm(const LayerNormArgs& args, Stream stream) {
  if (args.rows == 0) return;
  launch(layer_norm_kernel, dim3(static_cast<unsigned>(args.rows)), kThreads, sizeof(Shared),
         stream, args);
}

}  // namespace chatglm::kernels::cuda
