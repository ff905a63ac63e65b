// Products of many rows with weights of 4 bits.
#include "kernels/cuda/gemm_kernel.cuh"

namespace chatglm::kernels::cuda {

void gemm_nibbles(const GemmTask& task, Stream stream) {
  if (task.product.weight.form.part == 16) {
    launch_gemm<NibbleWeights<16>>(task, stream);
  } else {
    launch_gemm<NibbleWeights<32>>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
