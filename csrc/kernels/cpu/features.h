// What this CPU and its operating system can run.
#pragma once

namespace chatglm::kernels {

bool cpu_always();           // the baseline of the target architecture
bool cpu_has_avx2();         // AVX2, FMA and F16C, with the system saving the wide registers
bool cpu_has_avx_vnni();     // that and AVX-VNNI
bool cpu_has_avx512_vnni();  // AVX-512 F, BW, VL, DQ and VNNI besides AVX2
bool cpu_has_amx();   // that, AVX512-BF16, AMX tiles with bf16 and int8, and leave to use them
bool cpu_has_neon();  // Arm Advanced SIMD
bool cpu_has_neon_dotprod();  // its int8 dot products besides (Armv8.2)

}  // namespace chatglm::kernels
