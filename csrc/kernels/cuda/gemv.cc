#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/prepare_input.h"

namespace chatglm::kernels::cuda {

void gemv(const ProductArgs& args, Stream stream, bool early) {
  if (!args.weight.form.is_quantized()) return gemv_plain(args, stream, early);
  if (args.m <= kRowwiseInputs) return gemv_rowwise(args, stream, early);
  gemv_grouped(args, stream, early);
}

}  // namespace chatglm::kernels::cuda
