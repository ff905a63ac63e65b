// Products of many rows with weights of 8 bits.
#include "kernels/cuda/gemm_mma.cuh"

namespace chatglm::kernels::cuda {

void gemm_bytes(const GemmTask& task, Stream stream) {
  if (task.product.weight.form.part == 16) {
    launch_gemm<ByteWeights<16>, NarrowMma, WideMma>(task, stream);
  } else {
    launch_gemm<ByteWeights<32>, NarrowMma, WideMma>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
