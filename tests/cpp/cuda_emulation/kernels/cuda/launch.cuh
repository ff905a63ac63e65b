// launch() of the emulation: see csrc/kernels/cuda/launch.cuh.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <tuple>
#include <utility>

#include "emulation/launch_queue.h"
#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

inline constexpr std::size_t kPlainSharedBytes = 48 * 1024;

// The kernel before has always ended, but an early kernel is told of where it does not wait for it.
template <typename... Parameters, typename... Arguments>
void launch_early(bool early, void (*kernel)(Parameters...), dim3 grid, int threads,
                  std::size_t shared_bytes, Stream stream, Arguments&&... arguments) {
  static_assert((std::size_t{0} + ... + sizeof(Parameters)) <= 4096, "parameters of a kernel");
  const void* address = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kPlainSharedBytes &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared_bytes)) != cudaSuccess) {
    return;
  }
  // Every thread has parameters of its own.
  const std::tuple<Parameters...> parameters(static_cast<Parameters>(arguments)...);
  cuda_emulation::enqueue_kernel(address, grid, threads, shared_bytes, early, stream,
                                 [kernel, parameters] { std::apply(kernel, parameters); });
}

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  launch_early(false, kernel, grid, threads, shared_bytes, stream,
               std::forward<Arguments>(arguments)...);
}

}  // namespace chatglm::kernels::cuda
