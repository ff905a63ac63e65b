#include "emulation/machine.h"

#include <string_view>
#include <utility>

#include "emulation/block.h"
#include "emulation/device_memory.h"
#include "emulation/launch_queue.h"
#include "emulation/races.h"
#include "emulation/reports.h"

namespace cuda_emulation {
namespace {

constinit thread_local int this_device = 0;
constinit thread_local cudaError_t last_error = cudaSuccess;
constinit int running_on = 0;  // a device's index

}  // namespace

Host& host() {
  static Host the_host;
  return the_host;
}

int current_device() {
  return this_device;
}

cudaError_t fail(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t check_machine() {
  if (host().devices.empty()) return fail(cudaErrorNoDevice);
  return fail(host().sticky);
}

cudaError_t check_captures() {
  for (const std::weak_ptr<Capture>& weak : host().captures) {
    const std::shared_ptr<Capture> capture = weak.lock();
    if (capture == nullptr || capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->mode == cudaStreamCaptureModeThreadLocal &&
        capture->thread != std::this_thread::get_id()) {
      continue;
    }
    capture->invalid = true;
    return fail(cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

bool is_stream(cudaStream_t stream) {
  return stream == nullptr || host().streams.contains(stream);
}
bool is_capturing(cudaStream_t stream) {
  return stream != nullptr && stream->capture != nullptr;
}

cudaError_t enqueue(cudaStream_t stream, Work work) {
  if (!is_stream(stream)) return fail(cudaErrorInvalidResourceHandle);
  if (is_capturing(stream)) {
    if (stream->capture->invalid) return fail(cudaErrorStreamCaptureInvalidated);
    stream->capture->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  if (stream != nullptr) {
    stream->queue.push_back(std::move(work));
    return cudaSuccess;
  }
  for (const auto& [address, other] : host().streams) {
    if (other->blocking && other->device == this_device) finish(*other);
  }
  work();
  return fail(host().sticky);
}

void finish(CUstream_st& stream) {
  while (!stream.queue.empty()) {
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    if (host().sticky == cudaSuccess) work();
  }
}

void finish(const Mark& mark) {
  for (const auto& [address, stream] : host().streams) {
    if (stream->number != mark.stream) continue;
    while (!mark.reached && !stream->queue.empty()) {
      const Work work = std::move(stream->queue.front());
      stream->queue.pop_front();
      work();
    }
  }
}

void finish_device(int device) {
  for (const auto& [address, stream] : host().streams) {
    if (stream->device == device) finish(*stream);
  }
}

void enqueue_kernel(const void* kernel, const dim3& grid, int threads, std::size_t shared_bytes,
                    bool early, cudaStream_t stream, std::function<void()> body) {
  const Locked lock(host().mutex);
  if (check_machine() != cudaSuccess) return;
  const bool fits = threads >= 1 && threads <= static_cast<int>(kMaxThreads) && grid.x >= 1 &&
                    grid.y >= 1 && grid.z >= 1 && grid.x <= 0x7fffffffu && grid.y <= 0xffffu &&
                    grid.z <= 0xffffu;
  if (!fits) {
    fail(cudaErrorInvalidConfiguration);
    return;
  }
  const auto allowed = host().shared_bytes_allowed.find(kernel);
  const std::size_t most = allowed == host().shared_bytes_allowed.end()
                               ? 48 * 1024
                               : static_cast<std::size_t>(allowed->second);
  if (shared_bytes > most) {
    fail(cudaErrorInvalidValue);
    return;
  }
  if (stream != nullptr && is_stream(stream) && stream->device != this_device) {
    fail(cudaErrorInvalidResourceHandle);
    return;
  }
  const int device = this_device;
  const std::string_view missing = host().devices[static_cast<std::size_t>(device)].missing_code;
  if (!missing.empty() &&
      std::string(name_of_code(static_cast<const char*>(kernel) + 1)).find(missing) !=
          std::string::npos) {
    fail(cudaErrorNoKernelImageForDevice);
    return;
  }
  enqueue(stream, [=, body = std::move(body)] {
    set_kernel_device(device);
    running_on = device;
    const std::size_t before = report_count();
    run_grid(grid, static_cast<unsigned>(threads), shared_bytes, early, body);
    ++host().kernels_run;
    if (report_count() != before) host().sticky = cudaErrorLaunchFailure;
  });
}

cudaError_t allow_shared_bytes(const void* kernel, int bytes) {
  const Locked lock(host().mutex);
  if (check_machine() != cudaSuccess) return host().sticky;
  const DeviceSpec& device = host().devices[static_cast<std::size_t>(this_device)];
  if (bytes < 0 || static_cast<std::size_t>(bytes) > shared_bytes_per_block(device)) {
    return fail(cudaErrorInvalidValue);
  }
  int& allowed = host().shared_bytes_allowed[kernel];
  if (bytes > allowed) allowed = bytes;
  return cudaSuccess;
}

void set_devices(std::vector<DeviceSpec> devices) {
  const Locked lock(host().mutex);
  host().devices = std::move(devices);
  this_device = 0;
}

void set_driver(int version) {
  const Locked lock(host().mutex);
  host().driver = version;
}

Counts live_counts() {
  const Locked lock(host().mutex);
  Counts counts;
  counts.device_allocations = device_allocation_count();
  for (int device = 0; device < static_cast<int>(host().devices.size()); ++device) {
    counts.device_bytes += device_bytes_used(device);
  }
  counts.host_allocations = pinned_allocation_count();
  counts.streams = host().streams.size();
  counts.events = host().events.size();
  counts.graphs = host().graphs.size() + host().execs.size();
  return counts;
}

const DeviceSpec& running_device() {
  return host().devices[static_cast<std::size_t>(running_on)];
}

std::size_t kernels_run() {
  return host().kernels_run;
}
std::size_t graphs_launched() {
  return host().graphs_launched;
}

std::vector<std::string> take_reports() {
  const Locked lock(host().mutex);
  host().sticky = cudaSuccess;
  last_error = cudaSuccess;
  return take_kept_reports();
}

}  // namespace cuda_emulation

using cuda_emulation::fail;
using cuda_emulation::host;
using cuda_emulation::Locked;

cudaError_t cudaGetDeviceCount(int* count) {
  const Locked lock(host().mutex);
  *count = 0;
  if (host().driver < cuda_emulation::kRuntimeVersion) return fail(cudaErrorInsufficientDriver);
  *count = static_cast<int>(host().devices.size());
  return *count == 0 ? fail(cudaErrorNoDevice) : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  const Locked lock(host().mutex);
  if (device < 0 || device >= static_cast<int>(host().devices.size())) {
    return fail(cudaErrorInvalidDevice);
  }
  cuda_emulation::this_device = device;
  return fail(host().sticky);
}

cudaError_t cudaGetDevice(int* device) {
  *device = cuda_emulation::this_device;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const Locked lock(host().mutex);
  const cudaError_t error = std::exchange(cuda_emulation::last_error, cudaSuccess);
  return host().sticky != cudaSuccess ? host().sticky : error;
}

cudaError_t cudaPeekAtLastError() {
  const Locked lock(host().mutex);
  return host().sticky != cudaSuccess ? host().sticky : cuda_emulation::last_error;
}
