// The ordered list of kernel tables and the choice among them.
#include <optional>
#include <string>

#include "base/env.h"
#include "base/error.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

constexpr const KernelTable* kTables[] = {
#if defined(__x86_64__) || defined(_M_X64)
#if defined(CHATGLM_HAS_AMX)
    &kAmxKernels,
#endif
    &kAvx512VnniKernels,
#if defined(CHATGLM_HAS_AVX_VNNI)
    &kAvxVnniKernels,
#endif
    &kAvx2Kernels,
#elif defined(__aarch64__) || defined(_M_ARM64)
    &kNeonDotprodKernels,
    &kNeonKernels,
#endif
    &kGenericKernels,
};

std::string supported_names() {
  std::string names;
  for (const KernelTable* table : kTables) {
    if (!table->supported()) continue;
    if (!names.empty()) names += ", ";
    names += table->name;
  }
  return names;
}

}  // namespace

const LinearKernel& KernelTable::linear_kernel(DType dtype) const {
  return linear[static_cast<std::size_t>(dtype)];
}

std::span<const KernelTable* const> all_kernel_tables() {
  return kTables;
}

const KernelTable& select_kernel_table() {
  const std::optional<std::string> forced = env::forced_isa();
  for (const KernelTable* table : kTables) {
    if (forced ? table->name == *forced && table->supported() : table->supported()) return *table;
  }
  std::string reason = "is not an instruction set of this build";
  for (const KernelTable* table : kTables) {
    if (table->name == forced) reason = "is not supported by this CPU";
  }
  throw Error(ErrorKind::kDevice,
              "'" + forced.value_or("") + "' " + reason + "; supported here: " + supported_names(),
              "CHATGLM_ISA");
}

}  // namespace chatglm::kernels
