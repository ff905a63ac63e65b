#include "backend/cuda_device.h"

#include "backend/cuda_backend.h"
#include "backend/cuda_owned.h"
#include "base/error.h"

namespace chatglm {
namespace cuda {
namespace {

std::string device_name(int index) {
  return "cuda:" + std::to_string(index);
}

std::string cuda_version(int version) {  // 13000: 13.0
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string driver_problem(cudaError_t result) {
  int driver = 0, runtime = 0;  // 0: there is no driver
  if (result == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess &&
      cudaRuntimeGetVersion(&runtime) == cudaSuccess) {
    if (driver == 0) return "there is no NVIDIA driver here";
    return "the NVIDIA driver is too old: it is for " + cuda_version(driver) +
           ", this program is for " + cuda_version(runtime);
  }
  return std::string("the NVIDIA driver can't be used: ") + cudaGetErrorString(result);
}

// Empty: `properties` are those of the device.
std::string find_device(int index, cudaDeviceProp& properties) {
  int count = 0;
  cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorNoDevice || (result == cudaSuccess && count == 0)) {
    static_cast<void>(cudaGetLastError());
    return "there is no NVIDIA GPU here";
  }
  if (result == cudaSuccess && (index < 0 || index >= count)) {
    return count == 1 ? "there is one NVIDIA GPU here, cuda:0"
                      : "there are " + std::to_string(count) + " NVIDIA GPUs here, cuda:0 to " +
                            device_name(count - 1);
  }
  if (result == cudaSuccess) result = cudaGetDeviceProperties(&properties, index);
  if (result != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return driver_problem(result);
  }
  if (10 * properties.major + properties.minor < kLeastComputeCapability) {
    return std::string(properties.name) + " has compute capability " +
           std::to_string(properties.major) + "." + std::to_string(properties.minor) +
           ", at least 8.0 (Ampere) is needed";
  }
  return "";
}

}  // namespace

std::string Device::isa() const {
  return "sm_" + std::to_string(compute_capability);
}

std::string Device::description() const {
  return name + ", " + isa() + ", " + gibibytes(memory_bytes);
}

Device open_device(int index) {
  cudaDeviceProp properties{};
  const std::string problem = find_device(index, properties);
  if (!problem.empty()) throw Error(ErrorKind::kDevice, problem, device_name(index));
  return {.index = index,
          .name = properties.name,
          .compute_capability = 10 * properties.major + properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)};
}

}  // namespace cuda

std::string why_no_cuda(int device_index) {
  cudaDeviceProp properties{};
  return cuda::find_device(device_index, properties);
}

}  // namespace chatglm
