// shared_memory() of the emulation: see csrc/kernels/cuda/shared.cuh.
#pragma once

#include "emulation/block.h"

namespace chatglm::kernels::cuda {

template <typename T>
T& shared_memory() {
  static_assert(alignof(T) <= 128);
  return *reinterpret_cast<T*>(cuda_emulation::block_shared_memory(sizeof(T)));
}

}  // namespace chatglm::kernels::cuda
