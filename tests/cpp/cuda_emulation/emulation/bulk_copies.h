// Barriers in shared memory whose phases end when threads have arrived and bytes have come, and the
// copies of boxes that bring them.
#pragma once

#include <cuda.h>

#include <cstddef>

namespace cuda_emulation {

void init_barrier(void* barrier, unsigned arrivals);
void arrive_and_expect(void* barrier, unsigned bytes);
// Copies land when somebody waits for their barrier and not before. Who waits for what never comes
// stands still, which is told.
void wait_for_phase(void* barrier, unsigned parity);
void start_box_copy(void* shared, const CUtensorMap& map, int column, int row, void* barrier);

// A block begins without barriers, and must not end before its copies have.
void forget_barriers();
void check_that_copies_ended();

}  // namespace cuda_emulation
