// launch(): the one way to start a kernel. Errors are left for cudaGetLastError, which the caller
// of the host functions asks. Tests shadow this file with one that runs blocks as loops.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

// Every kernel may have this much shared memory, more is asked for first.
inline constexpr std::size_t kPlainSharedBytes = 48 * 1024;

// `early`, for devices of compute capability 9.0 and later: the kernel may start while the one
// before it in the stream still runs. It must then call grid_dependency_wait() in every thread
// before it reads what any kernel writes, or writes anything (see "Programmatic Dependent Launch"
// in the CUDA programming guide).
template <typename... Parameters, typename... Arguments>
void launch_early(bool early, void (*kernel)(Parameters...), dim3 grid, int threads,
                  std::size_t shared_bytes, Stream stream, Arguments&&... arguments) {
  if (shared_bytes > kPlainSharedBytes &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes)) != cudaSuccess) {
    return;
  }
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = early ? 1 : 0;
  // Its result is also what cudaGetLastError returns.
  static_cast<void>(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  launch_early(false, kernel, grid, threads, shared_bytes, stream,
               std::forward<Arguments>(arguments)...);
}

}  // namespace chatglm::kernels::cuda
