// The devices, streams and captures of the emulated runtime, and the lock over all of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "emulation/control.h"
#include "emulation/runtime_api.h"

namespace cuda_emulation {

using Work = std::function<void()>;

// What a stream records instead of queueing it. Streams that wait for its events join it.
struct Capture {
  std::vector<Work> nodes;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool invalid = false;
};

// A point in a stream's work.
struct Mark {
  uint64_t stream = 0;  // CUstream_st::number
  bool reached = false;
  std::chrono::steady_clock::time_point when;
  std::shared_ptr<Capture> capture;  // recorded while capturing
};

}  // namespace cuda_emulation

struct CUstream_st {
  uint64_t number;
  int device;
  bool blocking;  // for the null stream
  std::deque<cuda_emulation::Work> queue;
  std::shared_ptr<cuda_emulation::Capture> capture;
};
struct CUevent_st {
  bool timed;
  std::shared_ptr<cuda_emulation::Mark> mark;  // of the latest record, nullptr: none
};
struct CUgraph_st {
  std::vector<cuda_emulation::Work> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const std::vector<cuda_emulation::Work>> nodes;
};

namespace cuda_emulation {

inline constexpr int kRuntimeVersion = 13000;  // CUDA 13.0

struct Host {
  std::recursive_mutex mutex;  // a kernel runs while a caller waits for it
  std::vector<DeviceSpec> devices{DeviceSpec{}};
  int driver = kRuntimeVersion;
  uint64_t streams_made = 0;
  std::map<CUstream_st*, std::unique_ptr<CUstream_st>> streams;
  std::map<CUevent_st*, std::unique_ptr<CUevent_st>> events;
  std::map<CUgraph_st*, std::unique_ptr<CUgraph_st>> graphs;
  std::map<CUgraphExec_st*, std::unique_ptr<CUgraphExec_st>> execs;
  std::vector<std::weak_ptr<Capture>> captures;
  std::map<const void*, int> shared_bytes_allowed;  // by kernel
  std::size_t kernels_run = 0;
  std::size_t graphs_launched = 0;
  cudaError_t sticky = cudaSuccess;  // a kernel broke a rule: nothing works any more
};
Host& host();

// The lock, for the length of an API call.
using Locked = std::lock_guard<std::recursive_mutex>;

int current_device();
// Left for cudaGetLastError, and returned.
cudaError_t fail(cudaError_t error);
// What every call begins with: the sticky error.
cudaError_t check_machine();
// Fails, and invalidates, where a capture forbids what the calling thread is about to do.
cudaError_t check_captures();

// nullptr is the null stream: everything before is done first, then `work` at once.
cudaError_t enqueue(cudaStream_t stream, Work work);
void finish(CUstream_st& stream);
void finish(const Mark& mark);
void finish_device(int device);
bool is_stream(cudaStream_t stream);  // the null stream is one
bool is_capturing(cudaStream_t stream);

}  // namespace cuda_emulation
