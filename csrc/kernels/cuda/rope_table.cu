// The table of cos and sin: one thread for each angle. Positions reach a million, so the angle is
// reduced in f64; a step has few of them.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/row_slices.cuh"

namespace chatglm::kernels::cuda {
namespace {

__global__ void __launch_bounds__(kSliceThreads) rope_table_kernel(const RopeTableArgs args) {
  const int64_t pairs = args.rotary_dim / 2;
  float* out = args.cos_sin + blockIdx.x * args.rotary_dim;  // (pairs, 2)
  const float position = static_cast<float>(args.positions[blockIdx.x]) * args.position_scale;
  for_slice(pairs, [&](int64_t pair) {
    const float angle = position * args.frequencies[pair];
    double sine, cosine;
    sincos(angle, &sine, &cosine);
    out[2 * pair] = static_cast<float>(cosine) * args.magnitude;
    out[2 * pair + 1] = static_cast<float>(sine) * args.magnitude;
  });
}

}  // namespace

void rope_table(const RopeTableArgs& args, Stream stream) {
  if (args.rows == 0 || args.rotary_dim == 0) return;
  launch(rope_table_kernel, slice_grid(args.rows, args.rotary_dim / 2), kSliceThreads, 0, stream,
         args);
}

}  // namespace chatglm::kernels::cuda
