#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/prepare_input.h"

namespace chatglm::kernels::cuda {

void gemv(const ProductArgs& args, Stream stream) {
  if (!args.weight.form.is_quantized()) return gemv_plain(args, stream);
  if (args.m <= kRowwiseInputs) return gemv_rowwise(args, stream);
  gemv_grouped(args, stream);
}

}  // namespace chatglm::kernels::cuda
