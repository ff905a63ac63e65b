// Matrix products and loads of a warp by their documented fragments, and asynchronous copies.
#pragma once

#include <cstdint>

#include "emulation/block.h"

namespace cuda_emulation {

void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Gives the lane its elements of `count` 8 x 8 matrices, whose rows the lanes deposited.
void distribute_matrices(uint32_t* registers, int count, const uint4& row, bool transposed);
// Reports where it is not one that a matrix's row may have; false where it can't be read.
bool is_row_address(const void* row);

template <int kCount>
void load_matrices(uint32_t (&registers)[kCount], const uint4* row, bool transposed) {
  const bool named = is_row_address(row) && lane_index() < 8 * kCount;
  distribute_matrices(registers, kCount, named ? *row : uint4{}, transposed);
}

void start_copy(void* shared, const void* global, int bytes);
void close_copy_group();
void wait_for_copies(int pending_groups);

}  // namespace cuda_emulation
