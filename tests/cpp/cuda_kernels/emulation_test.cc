// The emulation itself: what threads do together gives what the CUDA and PTX manuals say, and what
// no kernel may do is told.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda_kernels/test_support.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

using Emulation = CudaKernelTest;

// Runs the kernel in one block and returns the one sentence that is reported.
template <typename... Parameters, typename... Arguments>
std::string report_of(void (*kernel)(Parameters...), int threads, std::size_t shared_bytes,
                      Arguments... arguments) {
  launch(kernel, dim3(1), threads, shared_bytes, nullptr, arguments...);
  EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure);
  const std::vector<std::string> reports = cuda_emulation::take_reports();
  EXPECT_FALSE(reports.empty());
  return reports.empty() ? "" : reports.front();
}

#define EXPECT_TELLS(sentence, part) \
  EXPECT_NE((sentence).find(part), std::string::npos) << (sentence)

// ---- what is shared by the threads of a block
// -----------------------------------------------------

__global__ void reverse_kernel(int* values) {
  int* shared = &shared_memory<int>();
  shared[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  values[blockIdx.x * blockDim.x + threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

TEST_F(Emulation, ThreadsExchangeThroughSharedMemory) {
  for (const int threads : {1, 31, 32, 100, 1024}) {
    std::vector<int> values(static_cast<std::size_t>(3 * threads));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i);
    const DeviceArray<int> device(values);
    launch(reverse_kernel, dim3(3), threads, static_cast<std::size_t>(threads) * sizeof(int),
           nullptr, device.data());
    const std::vector<int> reversed = device.values();
    for (int i = 0; i < 3 * threads; ++i) {
      EXPECT_EQ(reversed[static_cast<std::size_t>(i)],
                i / threads * threads + threads - 1 - i % threads);
    }
  }
}

__global__ void fresh_kernel(float* out) {
  float* shared = &shared_memory<float>();
  out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x];
  shared[threadIdx.x] = 1;
}

TEST_F(Emulation, SharedMemoryOfABlockIsPoisoned) {
  const DeviceArray<float> out(2 * 64);
  launch(fresh_kernel, dim3(2), 64, 64 * sizeof(float), nullptr, out.data());
  for (const float value : out.values()) EXPECT_TRUE(std::isnan(value));
}

__global__ void collect_kernel(uint32_t* out) {
  const auto lane = static_cast<int>(threadIdx.x % 32);
  uint32_t* own = out + threadIdx.x * 12;
  own[0] = static_cast<uint32_t>(__shfl_sync(0xffffffff, lane * 3, 5));
  own[1] = static_cast<uint32_t>(__shfl_sync(0xffffffff, lane, 9, 8));
  own[2] = static_cast<uint32_t>(__shfl_xor_sync(0xffffffff, lane, 16));
  own[3] = static_cast<uint32_t>(__shfl_xor_sync(0xffffffff, lane, 8, 8));
  own[4] = static_cast<uint32_t>(__shfl_down_sync(0xffffffff, lane, 4));
  own[5] = static_cast<uint32_t>(__shfl_up_sync(0xffffffff, lane, 4, 16));
  own[6] = __ballot_sync(0xffffffff, lane % 3 == 0);
  own[7] = static_cast<uint32_t>(__any_sync(0xffffffff, lane == 7));
  own[8] = static_cast<uint32_t>(__all_sync(0xffffffff, lane != 7));
  own[9] = static_cast<uint32_t>(__reduce_add_sync(0xffffffff, lane));
  own[10] = __match_any_sync(0xffffffff, lane % 4);
  // Two halves of a warp that do not wait for each other.
  const unsigned half = lane < 16 ? 0x0000ffff : 0xffff0000;
  own[11] = static_cast<uint32_t>(__reduce_max_sync(half, lane));
}

TEST_F(Emulation, LanesExchange) {
  const DeviceArray<uint32_t> out(64 * 12);
  launch(collect_kernel, dim3(1), 64, 0, nullptr, out.data());
  const std::vector<uint32_t> values = out.values();
  for (uint32_t thread = 0; thread < 64; ++thread) {
    const uint32_t lane = thread % 32;
    const std::vector<uint32_t> expected = {
        15, lane / 8 * 8 + 1, lane ^ 16,
        // Lanes of an earlier segment are read, of a later one are not.
        (lane ^ 8) < lane ? lane ^ 8 : lane, lane + 4 < 32 ? lane + 4 : lane,
        lane % 16 >= 4 ? lane - 4 : lane, 0x49249249, 1, 0, 496, 0x11111111u << lane % 4,
        lane < 16 ? 15u : 31u};
    const auto begin = values.begin() + thread * 12;
    EXPECT_EQ(std::vector<uint32_t>(begin, begin + 12), expected) << "thread " << thread;
  }
}

__global__ void atomics_kernel(int* counter, float* sum, unsigned* largest) {
  atomicAdd(counter, 1);
  atomicAdd(sum, 0.5f);
  atomicMax(largest, threadIdx.x);
}

TEST_F(Emulation, AtomicsCount) {
  const DeviceArray<int> counter(std::vector<int>{0});
  const DeviceArray<float> sum(std::vector<float>{0});
  const DeviceArray<unsigned> largest(std::vector<unsigned>{0});
  launch(atomics_kernel, dim3(3), 100, 0, nullptr, counter.data(), sum.data(), largest.data());
  EXPECT_EQ(counter.values()[0], 300);
  EXPECT_EQ(sum.values()[0], 150);
  EXPECT_EQ(largest.values()[0], 99u);
}

// ---- matrix words
// ---------------------------------------------------------------------------------

struct MmaOperands {
  const uint16_t* a;  // (16, 16) by rows
  const uint16_t* b;  // (16, 8) stored by columns: (8, 16)
  float* d;           // (16, 8)
};

// Written from the tables of the PTX ISA, "Matrix Fragments for mma.m16n8k16".
template <bool kHalf>
__global__ void mma_kernel(MmaOperands operands) {
  const int group = static_cast<int>(threadIdx.x) / 4, in_group = static_cast<int>(threadIdx.x) % 4;
  uint32_t a[4], b[2];
  for (int i = 0; i < 8; ++i) {
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
    const int column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    reinterpret_cast<uint16_t*>(a)[i] = operands.a[row * 16 + column];
  }
  for (int i = 0; i < 4; ++i) {
    const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
    reinterpret_cast<uint16_t*>(b)[i] = operands.b[group * 16 + row];
  }
  float d[4];
  for (int i = 0; i < 4; ++i) {
    d[i] = operands.d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
  }
  if constexpr (kHalf) {
    mma_f16_16x8x16(d, a, b);
  } else {
    mma_bf16_16x8x16(d, a, b);
  }
  for (int i = 0; i < 4; ++i) {
    operands.d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = d[i];
  }
}

TEST_F(Emulation, MmaOfSmallIntegersIsExact) {
  Random random(3);
  for (const bool half : {true, false}) {
    std::vector<uint16_t> a(16 * 16), b(8 * 16);
    std::vector<float> d(16 * 8), x(a.size()), y(b.size());
    for (std::size_t i = 0; i < a.size(); ++i) x[i] = static_cast<float>(random.integer(-9, 9));
    for (std::size_t i = 0; i < b.size(); ++i) y[i] = static_cast<float>(random.integer(-9, 9));
    for (float& value : d) value = static_cast<float>(random.integer(-99, 99));
    const auto bits = [&](float value) {
      return half ? __half_as_ushort(__half(value)) : __bfloat16_as_ushort(__nv_bfloat16(value));
    };
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = bits(x[i]);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = bits(y[i]);
    std::vector<float> expected = d;
    for (std::size_t i = 0; i < 16; ++i) {
      for (std::size_t j = 0; j < 8; ++j) {
        for (std::size_t k = 0; k < 16; ++k) expected[i * 8 + j] += x[i * 16 + k] * y[j * 16 + k];
      }
    }
    const DeviceArray<uint16_t> on_a(a), on_b(b);
    const DeviceArray<float> on_d(d);
    launch(half ? mma_kernel<true> : mma_kernel<false>, dim3(1), 32, 0, nullptr,
           MmaOperands{on_a.data(), on_b.data(), on_d.data()});
    EXPECT_EQ(on_d.values(), expected);
  }
}

// "Matrix Fragments for mma.m16n8k32", .s8.
__global__ void mma_s8_kernel(const int8_t* a_matrix, const int8_t* b_columns, int32_t* d_matrix) {
  const int group = static_cast<int>(threadIdx.x) / 4, in_group = static_cast<int>(threadIdx.x) % 4;
  uint32_t a[4], b[2];
  for (int i = 0; i < 16; ++i) {
    const int row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
    const int column = in_group * 4 + (i & 3) + (i >= 8 ? 16 : 0);
    reinterpret_cast<int8_t*>(a)[i] = a_matrix[row * 32 + column];
  }
  for (int i = 0; i < 8; ++i) {
    const int row = in_group * 4 + (i & 3) + (i >= 4 ? 16 : 0);
    reinterpret_cast<int8_t*>(b)[i] = b_columns[group * 32 + row];
  }
  int32_t d[4] = {1, 2, 3, 4};
  mma_s8_16x8x32(d, a, b);
  for (int i = 0; i < 4; ++i) {
    d_matrix[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = d[i] - (i + 1);
  }
}

TEST_F(Emulation, MmaOfBytesIsExact) {
  Random random(4);
  std::vector<int8_t> a(16 * 32), b(8 * 32);
  for (int8_t& value : a) value = static_cast<int8_t>(random.integer(-128, 127));
  for (int8_t& value : b) value = static_cast<int8_t>(random.integer(-128, 127));
  std::vector<int32_t> expected(16 * 8);
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 8; ++j) {
      for (std::size_t k = 0; k < 32; ++k) expected[i * 8 + j] += a[i * 32 + k] * b[j * 32 + k];
    }
  }
  const DeviceArray<int8_t> on_a(a), on_b(b);
  const DeviceArray<int32_t> on_d(16 * 8);
  launch(mma_s8_kernel, dim3(1), 32, 0, nullptr, on_a.data(), on_b.data(), on_d.data());
  EXPECT_EQ(on_d.values(), expected);
}

// Four 8 x 8 matrices, one behind the other, as they are and transposed.
__global__ void ldmatrix_kernel(uint32_t* out) {
  auto* const shared = &shared_memory<uint16_t>();
  for (unsigned i = threadIdx.x; i < 4 * 64; i += 32) shared[i] = static_cast<uint16_t>(i);
  __syncthreads();
  uint32_t straight[4], transposed[4], two[2];
  ldmatrix_x4(straight, shared + threadIdx.x * 8);
  ldmatrix_x4_trans(transposed, shared + threadIdx.x * 8);
  ldmatrix_x2_trans(two, shared + threadIdx.x % 16 * 8);
  uint32_t* own = out + threadIdx.x * 10;
  for (int i = 0; i < 4; ++i) own[i] = straight[i];
  for (int i = 0; i < 4; ++i) own[4 + i] = transposed[i];
  for (int i = 0; i < 2; ++i) own[8 + i] = two[i];
}

TEST_F(Emulation, LdmatrixDistributesRows) {
  const DeviceArray<uint32_t> out(32 * 10);
  launch(ldmatrix_kernel, dim3(1), 32, 4 * 64 * sizeof(uint16_t), nullptr, out.data());
  const std::vector<uint32_t> values = out.values();
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t row = lane / 4, column = lane % 4 * 2;
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t first = i * 64 + row * 8 + column;
      EXPECT_EQ(values[lane * 10 + i], (first + 1) << 16 | first);
      const uint32_t turned = i * 64 + column * 8 + row;
      EXPECT_EQ(values[lane * 10 + 4 + i], (turned + 8) << 16 | turned);
      if (i < 2) {
        EXPECT_EQ(values[lane * 10 + 8 + i], (turned + 8) << 16 | turned);
      }
    }
  }
}

// ---- asynchronous copies
// --------------------------------------------------------------------------

__global__ void copies_kernel(const uint4* in, uint4* out) {
  uint4* shared = &shared_memory<uint4>();
  const unsigned i = threadIdx.x;
  cp_async_16(&shared[i], &in[i]);
  cp_async_commit();
  cp_async_16_zfill(&shared[32 + i], &in[32 + i], static_cast<int>(i % 17));
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  out[i] = shared[31 - i];
  cp_async_wait<0>();
  __syncthreads();
  out[32 + i] = shared[32 + 31 - i];
}

TEST_F(Emulation, CopiesArriveWhenWaitedFor) {
  std::vector<uint4> in(64);
  for (unsigned i = 0; i < 64; ++i) in[i] = {4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3};
  const DeviceArray<uint4> on_in(in), on_out(64);
  launch(copies_kernel, dim3(1), 32, 64 * sizeof(uint4), nullptr, on_in.data(), on_out.data());
  const std::vector<uint4> out = on_out.values();
  for (unsigned i = 0; i < 32; ++i) {
    EXPECT_EQ(out[i].x, in[31 - i].x);
    EXPECT_EQ(out[i].w, in[31 - i].w);
    uint4 part{};
    std::memcpy(&part, &in[32 + 31 - i], (31 - i) % 17);
    EXPECT_EQ(std::memcmp(&out[32 + i], &part, sizeof(part)), 0) << i;
  }
}

// ---- what no kernel may do
// ------------------------------------------------------------------------

__global__ void early_return_kernel() {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

TEST_F(Emulation, ABarrierThatSomeThreadsNeverReachIsTold) {
  const std::string sentence = report_of(early_return_kernel, 64, 0);
  EXPECT_TELLS(sentence, "40 of its 64 threads wait, 24 have returned");
  EXPECT_TELLS(sentence, "thread 0 waits at __syncthreads()");
}

__global__ void missing_lane_kernel(int* out) {
  if (threadIdx.x != 3) out[threadIdx.x] = __shfl_xor_sync(0xffffffff, 1, 1);
}

TEST_F(Emulation, LanesOfAMaskThatNeverComeAreTold) {
  const DeviceArray<int> out(32);
  const std::string sentence = report_of(missing_lane_kernel, 32, 0, out.data());
  EXPECT_TELLS(sentence, "31 of its 32 threads wait");
  EXPECT_TELLS(sentence, "waits at a shuffle for the lanes 0xffffffff");
}

__global__ void half_barrier_kernel() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncwarp(0xffff);
  }
}

TEST_F(Emulation, AMaskWithoutTheCallerIsTold) {
  EXPECT_TELLS(report_of(half_barrier_kernel, 64, 0), "a mask that does not name the calling lane");
}

__global__ void large_kernel() {
  shared_memory<float[100]>()[0] = 0;
}

TEST_F(Emulation, SharedMemoryThatWasNotGivenIsTold) {
  EXPECT_TELLS(report_of(large_kernel, 32, 399),
               "uses 400 bytes of shared memory and was given 399");
}

__global__ void nothing_kernel() {}

TEST_F(Emulation, LaunchesThatTheRuntimeRefuses) {
  launch(nothing_kernel, dim3(1), 1025, 0, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  launch(nothing_kernel, dim3(0), 32, 0, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  launch(nothing_kernel, dim3(1, 65536), 32, 0, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
  launch(nothing_kernel, dim3(1), 32, 232449, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  launch(nothing_kernel, dim3(1), 32, 232448, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  cuda_emulation::set_devices({{.major = 8, .minor = 6}});
  launch(nothing_kernel, dim3(1), 32, 100 * 1024, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  cuda_emulation::set_devices({cuda_emulation::DeviceSpec{}});
}

}  // namespace
}  // namespace chatglm::kernels::cuda
