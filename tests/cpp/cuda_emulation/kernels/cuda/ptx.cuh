// The instructions of csrc/kernels/cuda/ptx.cuh in plain C++.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "emulation/matrix_words.h"

namespace chatglm::kernels::cuda {

inline void mma_f16_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  cuda_emulation::mma_f16(d, a, b);
}
inline void mma_bf16_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  cuda_emulation::mma_bf16(d, a, b);
}
inline void mma_s8_16x8x32(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  cuda_emulation::mma_s8(d, a, b);
}

// Each lane that names a row reads it: the check of its accesses is then its own.
inline void ldmatrix_x4(uint32_t (&r)[4], const void* shared_row) {
  cuda_emulation::load_matrices<4>(r, static_cast<const uint4*>(shared_row), false);
}
inline void ldmatrix_x2(uint32_t (&r)[2], const void* shared_row) {
  cuda_emulation::load_matrices<2>(r, static_cast<const uint4*>(shared_row), false);
}
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void* shared_row) {
  cuda_emulation::load_matrices<4>(r, static_cast<const uint4*>(shared_row), true);
}
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void* shared_row) {
  cuda_emulation::load_matrices<2>(r, static_cast<const uint4*>(shared_row), true);
}

inline void cp_async_16(void* shared, const void* global) {
  cuda_emulation::start_copy(shared, global, 16);
}
inline void cp_async_16_zfill(void* shared, const void* global, int bytes) {
  cuda_emulation::start_copy(shared, global, bytes);
}
inline void cp_async_commit() {
  cuda_emulation::close_copy_group();
}
template <int kPending>
void cp_async_wait() {
  cuda_emulation::wait_for_copies(kPending);
}

inline float exp2_approx(float x) {
  return x < -126 ? 0.0f : exp2f(x);
}

inline void grid_dependency_wait() {
  cuda_emulation::wait_for_earlier_kernels();
}
// Kernels run one after the other.
inline void grid_dependency_trigger() {}

inline uint4 load_streaming(const uint4* global) {
  return *global;
}

}  // namespace chatglm::kernels::cuda
