// The only place that reads environment variables. Each one is listed here with its meaning.
#pragma once

#include <optional>
#include <string>

namespace chatglm::env {

// CHATGLM_ISA: force a row of the CPU kernel table by name ("generic", "avx2", "avx512_vnni",
// "neon_dotprod", "neon").
std::optional<std::string> forced_isa();
// CHATGLM_NUM_THREADS: default number of threads.
std::optional<int> num_threads();
// CHATGLM_DEMO_MODEL: path of the model used when none is named.
std::optional<std::string> demo_model();

}  // namespace chatglm::env
