// The emulated host runtime: order of streams, events and graphs, memory, errors.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/launch.cuh"

namespace chatglm::kernels::cuda {
namespace {

class EmulatedRuntime : public CudaKernelTest {
 protected:
  void TearDown() override {
    cuda_emulation::set_devices({cuda_emulation::DeviceSpec{}});
    CudaKernelTest::TearDown();
  }
};

__global__ void add_kernel(int* value, int amount) {
  *value += amount;
}

struct StreamOwner {
  StreamOwner() {
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  }
  ~StreamOwner() { cudaStreamDestroy(stream); }
  cudaStream_t stream = nullptr;
};

TEST_F(EmulatedRuntime, FreshMemoryIsPoisonedAndCounted) {
  std::size_t free_before = 0, free_bytes = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_before, &total), cudaSuccess);
  float* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 1000), cudaSuccess);
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(free_before - free_bytes, 1024u);
  float value = 0;
  ASSERT_EQ(cudaMemcpy(&value, memory + 249, 4, cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_TRUE(std::isnan(value));
  EXPECT_EQ(cudaMemcpy(&value, memory + 250, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(&value, memory, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  ASSERT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMalloc(&memory, total + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(EmulatedRuntime, WorkIsDoneWhenItIsWaitedFor) {
  const StreamOwner owner;
  const DeviceArray<int> value(std::vector<int>{1});
  int* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, sizeof(int)), cudaSuccess);
  launch(add_kernel, dim3(1), 1, 0, owner.stream, value.data(), 5);
  ASSERT_EQ(
      cudaMemcpyAsync(pinned, value.data(), sizeof(int), cudaMemcpyDeviceToHost, owner.stream),
      cudaSuccess);
  EXPECT_EQ(*pinned, -1) << "nobody waited for the copy";
  ASSERT_EQ(cudaStreamSynchronize(owner.stream), cudaSuccess);
  EXPECT_EQ(*pinned, 6);
  ASSERT_EQ(cudaFreeHost(pinned), cudaSuccess);
}

TEST_F(EmulatedRuntime, PageableMemoryMayChangeAfterTheCall) {
  const StreamOwner owner;
  const DeviceArray<int> value(std::vector<int>{1});
  int source = 7;
  ASSERT_EQ(
      cudaMemcpyAsync(value.data(), &source, sizeof(int), cudaMemcpyHostToDevice, owner.stream),
      cudaSuccess);
  source = 8;
  EXPECT_EQ(value.values(owner.stream)[0], 7);
}

TEST_F(EmulatedRuntime, StreamsAreOrderedByEventsOnly) {
  const StreamOwner first, second;
  const DeviceArray<int> value(std::vector<int>{1});
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  launch(add_kernel, dim3(1), 1, 0, first.stream, value.data(), 5);
  int seen = 0;
  ASSERT_EQ(
      cudaMemcpyAsync(&seen, value.data(), sizeof(int), cudaMemcpyDeviceToHost, second.stream),
      cudaSuccess);
  EXPECT_EQ(seen, 1) << "the other stream was not waited for";
  ASSERT_EQ(cudaEventRecord(event, first.stream), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(second.stream, event), cudaSuccess);
  ASSERT_EQ(
      cudaMemcpyAsync(&seen, value.data(), sizeof(int), cudaMemcpyDeviceToHost, second.stream),
      cudaSuccess);
  EXPECT_EQ(seen, 6);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  ASSERT_EQ(cudaEventDestroy(event), cudaSuccess);
}

TEST_F(EmulatedRuntime, AGraphIsReplayed) {
  const StreamOwner owner, side;
  const DeviceArray<int> value(std::vector<int>{0});
  cudaEvent_t fork = nullptr, join = nullptr;
  ASSERT_EQ(cudaEventCreate(&fork), cudaSuccess);
  ASSERT_EQ(cudaEventCreate(&join), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(owner.stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  launch(add_kernel, dim3(1), 1, 0, owner.stream, value.data(), 2);
  ASSERT_EQ(cudaEventRecord(fork, owner.stream), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(side.stream, fork), cudaSuccess);
  launch(add_kernel, dim3(1), 1, 0, side.stream, value.data(), 3);
  ASSERT_EQ(cudaEventRecord(join, side.stream), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(owner.stream, join), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(owner.stream, &graph), cudaSuccess);
  cudaGraphExec_t exec = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(value.values(owner.stream)[0], 0) << "capturing ran the kernel";
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaGraphLaunch(exec, owner.stream), cudaSuccess);
  ASSERT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
  EXPECT_EQ(value.values(owner.stream)[0], 15);
  ASSERT_EQ(cudaEventDestroy(fork), cudaSuccess);
  ASSERT_EQ(cudaEventDestroy(join), cudaSuccess);
}

TEST_F(EmulatedRuntime, ACaptureForbidsWaitingAndAllocating) {
  const StreamOwner owner;
  ASSERT_EQ(cudaStreamBeginCapture(owner.stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 8), cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(owner.stream, &graph), cudaErrorStreamCaptureInvalidated);
  EXPECT_EQ(graph, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorStreamCaptureInvalidated);
}

TEST_F(EmulatedRuntime, DevicesHaveMemoryOfTheirOwn) {
  cuda_emulation::set_devices({{.memory_bytes = 1 << 20}, {.memory_bytes = 4 << 20}});
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 2 << 20), cudaErrorMemoryAllocation);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  ASSERT_EQ(cudaMalloc(&memory, 2 << 20), cudaSuccess);
  const StreamOwner of_second;
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  std::size_t free_bytes = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total), cudaSuccess);
  EXPECT_EQ(free_bytes, std::size_t{1} << 20);
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  static_cast<void>(cudaGetLastError());
  launch(add_kernel, dim3(1), 1, 0, of_second.stream, static_cast<int*>(memory), 1);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidResourceHandle) << "the stream of another device";
  void* other = nullptr;
  ASSERT_EQ(cudaMalloc(&other, 64), cudaSuccess);
  EXPECT_EQ(cudaMemcpyPeerAsync(other, 0, memory, 1, 64, of_second.stream), cudaSuccess);
  EXPECT_EQ(cudaMemcpyPeerAsync(other, 1, memory, 0, 64, of_second.stream), cudaErrorInvalidValue);
  static_cast<void>(cudaGetLastError());
  ASSERT_EQ(cudaStreamSynchronize(of_second.stream), cudaSuccess);
  ASSERT_EQ(cudaFree(memory), cudaSuccess);
  ASSERT_EQ(cudaFree(other), cudaSuccess);
}

TEST_F(EmulatedRuntime, WithoutDevicesThereIsNothing) {
  cuda_emulation::set_devices({});
  int count = -1;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_EQ(count, 0);
  void* memory = nullptr;
  EXPECT_EQ(cudaMalloc(&memory, 1), cudaErrorNoDevice);
  static_cast<void>(cudaGetLastError());
}

}  // namespace
}  // namespace chatglm::kernels::cuda
