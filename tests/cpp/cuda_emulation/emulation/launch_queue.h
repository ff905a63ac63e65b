// How launch() hands a kernel to its stream.
#pragma once

#include <cstddef>
#include <functional>

#include "emulation/runtime_api.h"

namespace cuda_emulation {

// Checks the configuration as the runtime does; what is wrong is left for cudaGetLastError.
// `early`: the kernel may start before those in front of it have ended, on devices that can do so.
void enqueue_kernel(const void* kernel, const dim3& grid, int threads, std::size_t shared_bytes,
                    bool early, cudaStream_t stream, std::function<void()> body);

}  // namespace cuda_emulation
