// Products of many rows with weights of 16 bits.
#include "kernels/cuda/gemm_kernel.cuh"

namespace chatglm::kernels::cuda {

void gemm_halves(const GemmTask& task, Stream stream) {
  if (task.product.weight.form.codes == Codes::kBF16) {
    launch_gemm<BFloatWeights>(task, stream);
  } else {
    launch_gemm<HalfWeights>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
