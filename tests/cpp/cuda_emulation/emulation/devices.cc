// What the runtime tells of its devices and errors.
#include <cstdio>
#include <map>
#include <string>

#include "emulation/device_memory.h"
#include "emulation/machine.h"
#include "emulation/reports.h"
#include "emulation/shared_arena.h"

using namespace cuda_emulation;

namespace {

struct ErrorText {
  const char* name;
  const char* text;
};

const std::map<cudaError_t, ErrorText>& error_texts() {
  static const std::map<cudaError_t, ErrorText> texts = {
      {cudaSuccess, {"cudaSuccess", "no error"}},
      {cudaErrorInvalidValue, {"cudaErrorInvalidValue", "invalid argument"}},
      {cudaErrorMemoryAllocation, {"cudaErrorMemoryAllocation", "out of memory"}},
      {cudaErrorInvalidConfiguration,
       {"cudaErrorInvalidConfiguration", "invalid configuration argument"}},
      {cudaErrorInvalidMemcpyDirection,
       {"cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"}},
      {cudaErrorInsufficientDriver,
       {"cudaErrorInsufficientDriver", "CUDA driver version is insufficient for the runtime's"}},
      {cudaErrorNoDevice, {"cudaErrorNoDevice", "no CUDA-capable device is detected"}},
      {cudaErrorInvalidDevice, {"cudaErrorInvalidDevice", "invalid device ordinal"}},
      {cudaErrorNoKernelImageForDevice,
       {"cudaErrorNoKernelImageForDevice", "no kernel image is available for execution"}},
      {cudaErrorInvalidResourceHandle,
       {"cudaErrorInvalidResourceHandle", "invalid resource handle"}},
      {cudaErrorNotReady, {"cudaErrorNotReady", "device not ready"}},
      {cudaErrorIllegalAddress,
       {"cudaErrorIllegalAddress", "an illegal memory access was encountered"}},
      {cudaErrorLaunchFailure, {"cudaErrorLaunchFailure", "unspecified launch failure"}},
      {cudaErrorStreamCaptureUnsupported,
       {"cudaErrorStreamCaptureUnsupported", "operation not permitted when stream is capturing"}},
      {cudaErrorStreamCaptureInvalidated,
       {"cudaErrorStreamCaptureInvalidated",
        "operation failed due to a previous error during capture"}},
  };
  return texts;
}

bool is_device(int device) {
  return device >= 0 && device < static_cast<int>(host().devices.size());
}

}  // namespace

std::size_t cuda_emulation::shared_bytes_per_block(const DeviceSpec& device) {
  if (device.major >= 9) return kMaxSharedBytes;
  return (device.minor == 0 ? 163 : 99) * 1024;  // 8.0; 8.6 and 8.9
}

const char* cudaGetErrorName(cudaError_t error) {
  const auto found = error_texts().find(error);
  return found == error_texts().end() ? "unrecognized error code" : found->second.name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const Locked lock(host().mutex);
  if (error == cudaErrorLaunchFailure) {
    static std::string text;  // valid until the next call
    text = std::string(error_texts().at(error).text) + ": " + all_reports();
    return text.c_str();
  }
  const auto found = error_texts().find(error);
  return found == error_texts().end() ? "unrecognized error code" : found->second.text;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Locked lock(host().mutex);
  if (!is_device(device)) return fail(cudaErrorInvalidDevice);
  const DeviceSpec& spec = host().devices[static_cast<std::size_t>(device)];
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "Emulated GPU %d", device);
  properties->totalGlobalMem = spec.memory_bytes;
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = shared_bytes_per_block(spec);
  properties->sharedMemPerMultiprocessor = shared_bytes_per_block(spec) + 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->major = spec.major;
  properties->minor = spec.minor;
  properties->multiProcessorCount = spec.multiprocessors;
  properties->l2CacheSize = 1 << 20;
  properties->memoryBusWidth = 256;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(properties.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(properties.sharedMemPerBlockOptin);
      return cudaSuccess;
  }
  return fail(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  const int device = current_device();
  *total_bytes = host().devices[static_cast<std::size_t>(device)].memory_bytes;
  const std::size_t used = device_bytes_used(device);
  *free_bytes = used < *total_bytes ? *total_bytes - used : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  const Locked lock(host().mutex);
  if (!is_device(device) || !is_device(peer)) return fail(cudaErrorInvalidDevice);
  *can = 0;  // copies between devices are offered, kernels see their own device's memory only
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  const Locked lock(host().mutex);
  *version = host().driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kRuntimeVersion;
  return cudaSuccess;
}
