// Products of many rows with weights of 4 bits.
#include "kernels/cuda/gemm_mma.cuh"

namespace chatglm::kernels::cuda {

void gemm_nibbles(const GemmTask& task, Stream stream) {
  if (task.product.weight.form.part == 16) {
    launch_gemm<NibbleWeights<16>, NarrowMma, WideMma>(task, stream);
  } else {
    launch_gemm<NibbleWeights<32>, NarrowMma, WideMma>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
