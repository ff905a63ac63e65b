// How the rows of x of a step come into their stage. A Shape names one of these as Shape::Rows:
//   Source                         what a launch is told of x, by value
//   describe(task, rows, source)   makes one for tiles of `rows` rows; false: it can't. On the host
//   Arrivals<kStages>              shared memory of a block, behind which rows have come
//   begin(arrivals, source)        by one thread, before the block's first barrier
//   copy<kThreads>(...)            starts to copy a step's, by all threads
//   wait(arrivals, stage, parity)  until they are there for this thread, at its latest behind
//                                  cp_async_wait; parity: how often the stage was waited for, mod 2
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_outputs.cuh"
#include "kernels/cuda/gemm_task.h"
#include "kernels/cuda/gemm_weights.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/tma.cuh"

namespace chatglm::kernels::cuda {

// By all threads, 16 bytes at a time, in the groups in which weights are copied.
struct CopiedRows {
  struct Source {};
  template <int kStages>
  struct Arrivals {};

  static bool describe(const GemmTask& /*task*/, int /*rows*/, Source& /*source*/) { return true; }
  template <int kStages>
  __device__ static __forceinline__ void begin(Arrivals<kStages>& /*arrivals*/,
                                               const Source& /*source*/) {}

  template <int kThreads, int kRows, int kStages>
  __device__ static __forceinline__ void copy(SwizzledRows<kRows>& to, const Source& /*source*/,
                                              const GemmTask& task, const TilePlace& place,
                                              int step, Arrivals<kStages>& /*arrivals*/,
                                              int /*stage*/) {
    constexpr int kPieces = static_cast<int>(kGemmDepth) / 8;  // of 16 bytes
    const ProductArgs& product = task.product;
    const int64_t row_bytes = int64_t{task.plan.steps} * kPieces * 16;
    const std::byte* x = static_cast<const std::byte*>(product.x) + place.first_row * row_bytes;
    const int last_row =
        static_cast<int>(min(product.m - place.first_row, task.plan.tile_rows)) - 1;
    to.template copy<kThreads>(x, last_row, row_bytes, step * kPieces,
                               task.plan.steps * kPieces - 1);
  }

  template <int kStages>
  __device__ static __forceinline__ void wait(Arrivals<kStages>& /*arrivals*/, int /*stage*/,
                                              unsigned /*parity*/) {}
};

// By the tensor memory accelerator, the rows of a step at once. For products that read x past the
// caches of generic loads, as wgmma does: nothing of a stage's x is ever written or read by plain
// accesses, so no fence is needed between those and the accelerator's.
//
// A stage's barrier has one arrival a phase, that of the thread which starts the phase's copy and
// says how many bytes it has. Why no wait is for ever, and no stage is written too early:
// - every step before `end` is started once, in order, and only those are waited for, each by all
//   threads; so the n-th wait for a stage meets its n-th phase, whose parity is that of n - 1;
// - it is started again behind the block's barrier behind which no thread has products left that
//   read it, and all have seen the end of the phase before;
// - whole boxes are counted, also where rows or columns are missing: a phase's bytes always come;
// - what was started was waited for before the block ends.
struct BoxedRows {
  struct Source {
    CUtensorMap x;
  };
  template <int kStages>
  struct Arrivals {
    Mbarrier of[kStages];
  };

  // The map holds x's address and m, as the task does: what records a launch records both.
  static bool describe(const GemmTask& task, int rows, Source& source) {
    return describe_rows(task.product.x, task.product.m, int64_t{task.plan.steps} * kGemmDepth,
                         rows, source.x);
  }

  template <int kStages>
  __device__ static __forceinline__ void begin(Arrivals<kStages>& arrivals, const Source& source) {
    prefetch_map(source.x);
#pragma unroll
    for (int s = 0; s < kStages; ++s) init_barrier(arrivals.of[s], 1);
    publish_barriers();
  }

  template <int kThreads, int kRows, int kStages>
  __device__ static __forceinline__ void copy(SwizzledRows<kRows>& to, const Source& source,
                                              const GemmTask& /*task*/, const TilePlace& place,
                                              int step, Arrivals<kStages>& arrivals, int stage) {
    if (threadIdx.x == 0) {
      arrive_and_expect(arrivals.of[stage], sizeof(to));
      copy_box(&to, source.x, step * static_cast<int>(kGemmDepth),
               static_cast<int>(place.first_row), arrivals.of[stage]);
    }
    __syncwarp();  // the products want the warp's lanes together
  }

  template <int kStages>
  __device__ static __forceinline__ void wait(Arrivals<kStages>& arrivals, int stage,
                                              unsigned parity) {
    wait_for_phase(arrivals.of[stage], parity);
  }
};

}  // namespace chatglm::kernels::cuda
