// The only place that reads environment variables. Each one is listed here with its meaning.
#pragma once

#include <optional>
#include <string>

namespace chatglm::env {

// CHATGLM_ISA: force a row of the CPU kernel table by name ("amx", "avx512_vnni", "avx_vnni",
// "avx2", "neon_dotprod", "neon", "generic").
std::optional<std::string> forced_isa();
// CHATGLM_NUM_THREADS: default number of threads.
std::optional<int> num_threads();
// CHATGLM_DEMO_MODEL: path of the model used when none is named.
std::optional<std::string> demo_model();
// CHATGLM_WGMMA=0: GPUs of compute capability 9.0 multiply with mma.sync, as those before them.
bool allows_wgmma();

}  // namespace chatglm::env
