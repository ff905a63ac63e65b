// The tables that exist on this architecture, each defined in its isa_<name>.cc.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace chatglm::kernels {

extern const KernelTable kGenericKernels;
#if defined(__x86_64__) || defined(_M_X64)
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvxVnniKernels;  // where the compiler knows AVX-VNNI
extern const KernelTable kAvx512VnniKernels;
extern const KernelTable kAmxKernels;  // where the compiler knows AMX
#elif defined(__aarch64__) || defined(_M_ARM64)
extern const KernelTable kNeonDotprodKernels;
extern const KernelTable kNeonKernels;
#endif

}  // namespace chatglm::kernels
