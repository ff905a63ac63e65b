// Stands in for the CUDA toolkit's header in tests: the words of device code as plain C++, and a
// host runtime without a GPU. Blocks run one after the other, the threads of a block as fibers.
#pragma once

#include "emulation/math_words.h"    // IWYU pragma: export
#include "emulation/runtime_api.h"   // IWYU pragma: export
#include "emulation/thread_words.h"  // IWYU pragma: export
#include "emulation/vector_types.h"  // IWYU pragma: export
