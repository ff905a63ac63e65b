// One answer on its way from the model to standard output.
#pragma once

#include "pipeline/pipeline.h"

namespace chatglm::cli {

enum class AnswerEnd { kDone, kInterrupted, kReaderGone };

// Prints the answer, piece by piece or (sync) at its end, and a newline after it. Ctrl-C (with an
// InterruptScope) cancels the generation; what was printed by then stays. verbose: timings to
// standard error. Throws Error{kRuntime} where the generation fails.
AnswerEnd print_answer(Generation& generation, bool sync, bool verbose);

}  // namespace chatglm::cli
