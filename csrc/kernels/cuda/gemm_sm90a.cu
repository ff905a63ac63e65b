// Products of many rows by warpgroups: the one file that is compiled for sm_90a, and for nothing
// else.
#include "kernels/cuda/gemm_wgmma.cuh"

namespace chatglm::kernels::cuda {
namespace {

template <class Weights>
void multiply(const GemmTask& task, Stream stream) {
  launch_gemm<Weights, NarrowWgmma, WideWgmma>(task, stream);
}

}  // namespace

void gemm_by_warpgroups(const GemmTask& task, Stream stream) {
  const WeightForm& form = task.product.weight.form;
  switch (form.codes) {
    case Codes::kF32:
      break;  // has gemm_f32
    case Codes::kF16:
      multiply<HalfWeights>(task, stream);
      break;
    case Codes::kBF16:
      multiply<BFloatWeights>(task, stream);
      break;
    case Codes::kNibbles:
      form.part == 16 ? multiply<NibbleWeights<16>>(task, stream)
                      : multiply<NibbleWeights<32>>(task, stream);
      break;
    case Codes::kBytes:
      form.part == 16 ? multiply<ByteWeights<16>>(task, stream)
                      : multiply<ByteWeights<32>>(task, stream);
      break;
  }
}

}  // namespace chatglm::kernels::cuda
