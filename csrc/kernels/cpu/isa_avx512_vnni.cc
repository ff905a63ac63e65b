// x86-64 with AVX-512 (F, BW, VL, DQ) and VNNI.
#include "kernels/cpu/avx512_vectors.h"
#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {

constinit const KernelTable kAvx512VnniKernels =
    make_kernel_table<Avx512Vnni>("avx512_vnni", cpu_has_avx512_vnni);

}  // namespace chatglm::kernels
