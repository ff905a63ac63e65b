// Products of many rows with weights of 16 bits.
#include "kernels/cuda/gemm_mma.cuh"

namespace chatglm::kernels::cuda {

void gemm_halves(const GemmTask& task, Stream stream) {
  if (task.product.weight.form.codes == Codes::kBF16) {
    launch_gemm<BFloatWeights, NarrowMma, WideLoneMma>(task, stream);
  } else {
    launch_gemm<HalfWeights, NarrowMma, WideLoneMma>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
