// The emulation's look at every access of a kernel to memory: what is not ordered by a barrier, not
// in bounds, or still being copied is told. Builds with sanitizers have their own hooks and skip
// this.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

class Races : public CudaKernelTest {
 protected:
  void SetUp() override {
    CudaKernelTest::SetUp();
#if !defined(CUDA_EMULATION_FINDS_RACES)
    GTEST_SKIP() << "this build has a sanitizer's hooks";
#endif
  }

  // The first sentence that one block of the kernel makes the emulation say; "" for none.
  template <typename... Parameters, typename... Arguments>
  static std::string report_of(void (*kernel)(Parameters...), int threads, std::size_t shared_bytes,
                               Arguments... arguments) {
    launch(kernel, dim3(1), threads, shared_bytes, nullptr, arguments...);
    const cudaError_t error = cudaStreamSynchronize(nullptr);
    const std::vector<std::string> reports = cuda_emulation::take_reports();
    EXPECT_EQ(error, reports.empty() ? cudaSuccess : cudaErrorLaunchFailure);
    return reports.empty() ? "" : reports.front();
  }
};

#define EXPECT_TELLS(sentence, part) \
  EXPECT_NE((sentence).find(part), std::string::npos) << (sentence)

template <bool kBarrier>
__global__ void neighbour_kernel(int* out) {
  int* shared = &shared_memory<int>();
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (kBarrier) __syncthreads();
  out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

TEST_F(Races, AReadOfWhatAnotherThreadWrites) {
  const DeviceArray<int> out(64);
  const std::string sentence = report_of(neighbour_kernel<false>, 64, 256, out.data());
  // Thread 0 runs first, without a barrier to the end.
  EXPECT_TELLS(sentence, "thread 1 of block (0, 0, 0): a race: writes shared memory at byte 4 in ");
  EXPECT_TELLS(sentence, "which thread 0 read in ");
  EXPECT_TELLS(sentence, "neighbour_kernel");
  EXPECT_EQ(report_of(neighbour_kernel<true>, 64, 256, out.data()), "");
}

// Read, then written by others for the next round: the second barrier of a loop.
template <bool kBarrier>
__global__ void rounds_kernel(int* out) {
  int* shared = &shared_memory<int>();
  int sum = 0;
  for (int round = 0; round < 3; ++round) {
    if (kBarrier) __syncthreads();
    shared[threadIdx.x] = round;
    __syncthreads();
    sum += shared[blockDim.x - 1 - threadIdx.x];
  }
  out[threadIdx.x] = sum;
}

TEST_F(Races, AWriteOfWhatAnotherThreadStillReads) {
  const DeviceArray<int> out(96);
  EXPECT_TELLS(report_of(rounds_kernel<false>, 96, 384, out.data()), "a race: ");
  EXPECT_EQ(report_of(rounds_kernel<true>, 96, 384, out.data()), "");
}

__global__ void same_place_kernel() {
  shared_memory<int>() = 1;
}

TEST_F(Races, TwoWritesOfTheSameValue) {
  EXPECT_TELLS(report_of(same_place_kernel, 2, 4), "a race: ");
  EXPECT_EQ(report_of(same_place_kernel, 1, 4), "");
}

enum class Order { kNone, kShuffle, kSyncwarp, kHalfWarps };

// Lanes read what the lane opposite to them wrote.
template <Order kOrder>
__global__ void warp_kernel(int* out) {
  int* shared = &shared_memory<int>() + threadIdx.x / 32 * 32;
  const unsigned lane = threadIdx.x % 32;
  shared[lane] = static_cast<int>(lane);
  if (kOrder == Order::kShuffle) __shfl_xor_sync(0xffffffff, 0, 1);
  if (kOrder == Order::kSyncwarp) __syncwarp();
  if (kOrder == Order::kHalfWarps) __syncwarp(lane < 16 ? 0xffff : 0xffff0000);
  out[threadIdx.x] = shared[31 - lane];
}

TEST_F(Races, OnlySyncwarpOrdersLanes) {
  const DeviceArray<int> out(64);
  EXPECT_TELLS(report_of(warp_kernel<Order::kNone>, 64, 256, out.data()), "a race: ");
  EXPECT_TELLS(report_of(warp_kernel<Order::kShuffle>, 64, 256, out.data()), "a race: ");
  EXPECT_TELLS(report_of(warp_kernel<Order::kHalfWarps>, 64, 256, out.data()), "a race: ");
  EXPECT_EQ(report_of(warp_kernel<Order::kSyncwarp>, 64, 256, out.data()), "");
}

__global__ void other_warp_kernel(int* out) {
  int* shared = &shared_memory<int>();
  shared[threadIdx.x] = 1;
  __syncwarp();
  out[threadIdx.x] = shared[threadIdx.x ^ 32];
}

TEST_F(Races, SyncwarpOrdersNoOtherWarp) {
  const DeviceArray<int> out(64);
  EXPECT_TELLS(report_of(other_warp_kernel, 64, 256, out.data()), "a race: ");
}

__global__ void bytes_kernel() {
  auto* const shared = &shared_memory<signed char>();
  shared[threadIdx.x] = 1;
}

TEST_F(Races, NeighbouringBytesAreNoRace) {
  EXPECT_EQ(report_of(bytes_kernel, 64, 64), "");
}

__global__ void part_kernel() {
  if (threadIdx.x == 0) shared_memory<int>() = 1;
  if (threadIdx.x == 1) (&shared_memory<signed char>())[2] = 1;
}

TEST_F(Races, PartOfAWordIs) {
  EXPECT_TELLS(report_of(part_kernel, 2, 4), "writes shared memory at byte 2");
}

template <bool kAtomic>
__global__ void count_kernel() {
  int& counter = shared_memory<int>();
  if (threadIdx.x == 0) counter = 0;
  __syncthreads();
  if (kAtomic || threadIdx.x != 5) {
    atomicAdd(&counter, 1);
  } else {
    counter += 1;
  }
}

TEST_F(Races, AtomicsRaceWithPlainAccessesOnly) {
  EXPECT_EQ(report_of(count_kernel<true>, 64, 4), "");
  EXPECT_TELLS(report_of(count_kernel<false>, 64, 4), "a race");
}

enum class Wait { kNone, kWithoutBarrier, kTooFew, kWhole };

template <Wait kWait>
__global__ void copy_kernel(const uint4* in, uint4* out) {
  uint4* shared = &shared_memory<uint4>();
  cp_async_16(&shared[threadIdx.x], &in[threadIdx.x]);
  cp_async_commit();
  if (kWait == Wait::kTooFew) cp_async_wait<1>();
  if (kWait == Wait::kWhole || kWait == Wait::kWithoutBarrier) cp_async_wait<0>();
  if (kWait != Wait::kWithoutBarrier) __syncthreads();
  out[threadIdx.x] = shared[31 - threadIdx.x];
}

TEST_F(Races, CopiesAreWaitedForAndThenABarrier) {
  const DeviceArray<uint4> in(std::vector<uint4>(32)), out(32);
  const auto told = [&](auto* kernel) {
    return report_of(kernel, 32, 32 * sizeof(uint4), in.data(), out.data());
  };
  EXPECT_TELLS(told(copy_kernel<Wait::kNone>), "a copy that was not waited for");
  EXPECT_TELLS(told(copy_kernel<Wait::kTooFew>), "a copy that was not waited for");
  EXPECT_TELLS(told(copy_kernel<Wait::kWithoutBarrier>), "a race: ");
  EXPECT_EQ(told(copy_kernel<Wait::kWhole>), "");
}

__global__ void reuse_kernel(const uint4* in, uint4* out) {
  uint4* shared = &shared_memory<uint4>();
  shared[threadIdx.x] = {};
  __syncthreads();
  out[threadIdx.x] = shared[31 - threadIdx.x];
  cp_async_16(&shared[threadIdx.x], &in[threadIdx.x]);
}

TEST_F(Races, ACopyIntoWhatOthersStillRead) {
  const DeviceArray<uint4> in(std::vector<uint4>(32)), out(32);
  EXPECT_TELLS(report_of(reuse_kernel, 32, 32 * sizeof(uint4), in.data(), out.data()), "a race: ");
}

__global__ void ldmatrix_race_kernel(uint32_t* out) {
  uint4* shared = &shared_memory<uint4>();
  shared[threadIdx.x] = {};
  uint32_t registers[4];
  ldmatrix_x4(registers, &shared[threadIdx.x ^ 1]);
  out[threadIdx.x] = registers[0];
}

TEST_F(Races, LdmatrixReadsToo) {
  const DeviceArray<uint32_t> out(32);
  EXPECT_TELLS(report_of(ldmatrix_race_kernel, 32, 512, out.data()), "a race: ");
}

__global__ void shared_bounds_kernel(int index) {
  (&shared_memory<int>())[index] = 1;
}

TEST_F(Races, SharedMemoryHasBounds) {
  EXPECT_EQ(report_of(shared_bounds_kernel, 1, 40, 9), "");
  EXPECT_TELLS(report_of(shared_bounds_kernel, 1, 40, 10),
               "writes 4 bytes at byte 40 of shared memory, of which there are 40");
  EXPECT_TELLS(report_of(shared_bounds_kernel, 1, 40, -1), "at byte -4 of shared memory");
}

__global__ void global_bounds_kernel(const int* in, int* out) {
  *out = *in;
}

TEST_F(Races, DeviceMemoryHasBounds) {
  int* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 40), cudaSuccess);
  EXPECT_EQ(report_of(global_bounds_kernel, 1, 0, memory + 9, memory), "");
  EXPECT_TELLS(
      report_of(global_bounds_kernel, 1, 0, memory + 10, memory),
      "reads 4 bytes of device memory that is not allocated (at byte 40 from the begin of an "
      "allocation of 40)");
  ASSERT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_TELLS(report_of(global_bounds_kernel, 1, 0, memory, memory), "is not allocated");
}

enum class EarlyStep { kReadWeights, kRead, kCopy, kWrite, kReturn };

// What an early kernel does before it waits for the kernels in front of it.
template <EarlyStep kStep>
__global__ void early_kernel(const uint4* weights, uint4* written) {
  if (kStep == EarlyStep::kReturn) return;
  uint4 value = *weights;
  if (kStep == EarlyStep::kRead) value = *written;
  if (kStep == EarlyStep::kCopy) cp_async_16(&shared_memory<uint4>(), written);
  if (kStep == EarlyStep::kWrite) *written = value;
  grid_dependency_wait();
  written->x = value.x + 1;
}

__global__ void write_kernel(uint4* written) {
  *written = {};
}

TEST_F(Races, AnEarlyKernelWaitsForThoseBefore) {
  const DeviceArray<uint4> weights(std::vector<uint4>(1)), written(1);
  const auto told = [&](bool early, auto* kernel) {
    launch(write_kernel, dim3(1), 1, 0, nullptr, written.data());
    launch_early(early, kernel, dim3(1), 1, 16, nullptr, weights.data(), written.data());
    static_cast<void>(cudaStreamSynchronize(nullptr));
    const std::vector<std::string> reports = cuda_emulation::take_reports();
    return reports.empty() ? "" : reports.front();
  };
  EXPECT_EQ(told(true, early_kernel<EarlyStep::kReadWeights>), "");
  EXPECT_EQ(told(false, early_kernel<EarlyStep::kRead>), "");
  EXPECT_TELLS(told(true, early_kernel<EarlyStep::kRead>), "reads what kernels write before");
  EXPECT_TELLS(told(true, early_kernel<EarlyStep::kCopy>), "copies what kernels write before");
  EXPECT_TELLS(told(true, early_kernel<EarlyStep::kWrite>), "writes before grid_dependency_wait()");
  EXPECT_TELLS(told(true, early_kernel<EarlyStep::kReturn>),
               "no thread of an early kernel calls grid_dependency_wait()");
}

TEST_F(Races, AKernelSeesItsOwnDevicesMemory) {
  cuda_emulation::set_devices({{}, {}});
  int* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 40), cudaSuccess);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_TELLS(report_of(global_bounds_kernel, 1, 0, memory, memory), "belongs to device 0");
  ASSERT_EQ(cudaFree(memory), cudaSuccess);
  cuda_emulation::set_devices({cuda_emulation::DeviceSpec{}});
}

}  // namespace
}  // namespace chatglm::kernels::cuda
