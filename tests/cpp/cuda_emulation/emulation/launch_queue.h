// How launch() hands a kernel to its stream.
#pragma once

#include <cstddef>
#include <functional>

#include "emulation/runtime_api.h"

namespace cuda_emulation {

// Checks the configuration as the runtime does; what is wrong is left for cudaGetLastError.
void enqueue_kernel(const void* kernel, const dim3& grid, int threads, std::size_t shared_bytes,
                    cudaStream_t stream, std::function<void()> body);

}  // namespace cuda_emulation
