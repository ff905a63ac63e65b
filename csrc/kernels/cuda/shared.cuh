// The shared memory of a block, as one struct for each kernel: `Shared& shared =
// shared_memory<Shared>()`. Its size is what launch() is given. A tail of variable size lies behind
// `&shared_memory<std::byte>()`. Tests shadow this file.
#pragma once

namespace chatglm::kernels::cuda {

template <typename T>
__device__ __forceinline__ T& shared_memory() {
  extern __shared__ __align__(128) unsigned char block_shared_memory[];
  return *reinterpret_cast<T*>(block_shared_memory);
}

}  // namespace chatglm::kernels::cuda
