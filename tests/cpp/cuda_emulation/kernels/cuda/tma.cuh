// The instructions of csrc/kernels/cuda/tma.cuh in plain C++.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "emulation/bulk_copies.h"

namespace chatglm::kernels::cuda {

struct Mbarrier {
  uint64_t state;
};

inline void init_barrier(Mbarrier& barrier, unsigned arrivals) {
  cuda_emulation::init_barrier(&barrier, arrivals);
}
inline void publish_barriers() {}
inline void arrive_and_expect(Mbarrier& barrier, unsigned bytes) {
  cuda_emulation::arrive_and_expect(&barrier, bytes);
}
inline void wait_for_phase(Mbarrier& barrier, unsigned parity) {
  cuda_emulation::wait_for_phase(&barrier, parity);
}
inline void copy_box(void* shared, const CUtensorMap& map, int column, int row, Mbarrier& barrier) {
  cuda_emulation::start_box_copy(shared, map, column, row, &barrier);
}
inline void prefetch_map(const CUtensorMap& /*map*/) {}

}  // namespace chatglm::kernels::cuda
