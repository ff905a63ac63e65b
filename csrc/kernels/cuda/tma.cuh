// Copies of boxes by the tensor memory accelerator of compute capability 9.0 and later, and the
// barriers in shared memory that tell of their end: "mbarrier" and "cp.async.bulk.tensor" of the
// PTX ISA. Tests shadow this file with the same in plain C++.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {

// Has phases, counted from 0: one ends when all threads that it waits for have arrived and all
// bytes that they expect have come, and the next one begins.
struct Mbarrier {
  uint64_t state;
};

// By one thread, before publish_barriers(); others may use it after a barrier behind that.
__device__ __forceinline__ void init_barrier(Mbarrier& barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"(shared_address(&barrier)), "r"(arrivals)
               : "memory");
}

// What this thread made of barriers is seen by the accelerator.
__device__ __forceinline__ void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Arrives, and has the phase wait for `bytes` of copies, too.
__device__ __forceinline__ void arrive_and_expect(Mbarrier& barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}

// Waits for the end of the phase of this parity, the latest or the one before it. What its copies
// brought is there for the calling thread then.
__device__ __forceinline__ void wait_for_phase(Mbarrier& barrier, unsigned parity) {
  uint32_t over;
  do {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(over)
        : "r"(shared_address(&barrier)), "r"(parity)
        : "memory");
  } while (over == 0);
}

// Starts to copy the map's box of which the first element is `column` of `row`, and tells `barrier`
// of its bytes: always those of a whole box; what lies beyond the matrix becomes zero. By one
// thread, once nobody reads what lay there. The map is a parameter of the kernel.
__device__ __forceinline__ void copy_box(void* shared, const CUtensorMap& map, int column, int row,
                                         Mbarrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%2, %3}], [%4];"
      :
      : "r"(shared_address(shared)), "l"(&map), "r"(column), "r"(row), "r"(shared_address(&barrier))
      : "memory");
}

// The map will be needed soon.
__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" : : "l"(&map) : "memory");
}

}  // namespace chatglm::kernels::cuda
