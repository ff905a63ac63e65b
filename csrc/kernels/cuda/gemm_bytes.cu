// Products of many rows with weights of 8 bits.
#include "kernels/cuda/gemm_kernel.cuh"

namespace chatglm::kernels::cuda {

void gemm_bytes(const GemmTask& task, Stream stream) {
  if (task.product.weight.form.part == 16) {
    launch_gemm<ByteWeights<16>>(task, stream);
  } else {
    launch_gemm<ByteWeights<32>>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
