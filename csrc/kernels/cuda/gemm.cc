#include "kernels/cuda/gemm.h"

#include "kernels/cuda/gemm_task.h"
#include "kernels/cuda/prepare_input.h"

namespace chatglm::kernels::cuda {
namespace {

// They lie behind the rows; bf16 needs none.
const float* row_scales(const ProductArgs& args) {
  if (args.weight.form.codes == Codes::kBF16) return nullptr;
  const auto* rows = static_cast<const uint16_t*>(args.x);
  const int64_t halves = args.m * input_cols(InputForm::kF16, args.weight.k);
  return reinterpret_cast<const float*>(rows + halves);
}

}  // namespace

void gemm(const ProductArgs& args, const GemmPlan& plan, bool by_warpgroups, std::byte* scratch,
          Stream stream) {
  GemmTask task{.product = args, .row_scales = row_scales(args), .plan = plan};
  if (plan.parallel) {
    task.counters = reinterpret_cast<unsigned*>(scratch);
    task.partials = reinterpret_cast<float*>(task.counters + kGemmCounters);
  }
  const Codes codes = args.weight.form.codes;
  if (by_warpgroups && codes != Codes::kF32) {
    gemm_by_warpgroups(task, stream);
    return;
  }
  switch (codes) {
    case Codes::kF32:
      gemm_f32(args, stream);
      break;
    case Codes::kF16:
    case Codes::kBF16:
      gemm_halves(task, stream);
      break;
    case Codes::kNibbles:
      gemm_nibbles(task, stream);
      break;
    case Codes::kBytes:
      gemm_bytes(task, stream);
      break;
  }
}

void gemm(const ProductArgs& args, bool by_warpgroups, std::byte* scratch, Stream stream) {
  GemmPlan plan = gemm_plan(args.m, args.weight.n, args.weight.k);
  if (scratch == nullptr) plan.parallel = false;
  gemm(args, plan, by_warpgroups, scratch, stream);
}

}  // namespace chatglm::kernels::cuda
