// The shared memory of a block, as one struct for each kernel: `Shared& shared =
// shared_memory<Shared>()`. Its size is what launch() is given. A tail of variable size lies behind
// `&shared_memory<std::byte>()`. It begins at a multiple of 1024, as the swizzles of compute
// capability 9.0 want it. Tests shadow this file.
#pragma once

namespace chatglm::kernels::cuda {

template <typename T>
__device__ __forceinline__ T& shared_memory() {
  extern __shared__ __align__(1024) unsigned char block_shared_memory[];
  return *reinterpret_cast<T*>(block_shared_memory);
}

}  // namespace chatglm::kernels::cuda
