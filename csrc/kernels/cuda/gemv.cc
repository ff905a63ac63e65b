#include "kernels/cuda/gemv_kernels.h"
#include "kernels/cuda/prepare_input.h"

namespace chatglm::kernels::cuda {

void gemv(const ProductArgs& args, const HeadOutputs& heads, Stream stream, bool early) {
  if (!args.weight.form.is_quantized()) return gemv_plain(args, heads, stream, early);
  if (args.m <= kRowwiseInputs) return gemv_rowwise(args, heads, stream, early);
  gemv_grouped(args, heads, stream, early);
}

}  // namespace chatglm::kernels::cuda
