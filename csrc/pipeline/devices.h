// The devices that a pipeline computes on, and which of them has which layers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/recording_backend.h"
#include "kv/placement.h"

namespace chatglm {

class Devices {
 public:
  // device: as in create_backend(), or several GPUs that share the layers: "cuda:0,1".
  // gpu_layers: so many of the last layers, and the output matrix with them, go to the GPUs, what
  // is left to the CPU; nothing: all of them.
  // Throws Error{kInvalidArgument} for a name or number that makes no sense, Error{kDevice} where a
  // device is not there.
  Devices(std::string_view device, std::optional<int64_t> gpu_layers, int num_threads,
          int64_t num_layers);

  const Placement& placement() const { return *placement_; }
  std::string description() const;  // for -v
  // Records the inputs of products from now on: before a model is loaded.
  // Throws Error{kInvalidArgument} where there is more than one device.
  RecordingBackend& record_inputs();

 private:
  void add(std::string_view device, int num_threads);

  std::vector<std::unique_ptr<Backend>> backends_;
  std::vector<int64_t> layers_each_;  // (backends)
  std::optional<Placement> placement_;
};

// "cuda:0,1" to "cuda:0" and "cuda:1"; what is no list to itself.
// Throws Error{kInvalidArgument} where one is named twice.
std::vector<std::string> split_device_list(std::string_view device);

// Divides layers among devices by their free memory (bytes): at least one each, in order; none for
// the last ones where there are fewer layers than devices.
std::vector<int64_t> divide_layers(int64_t num_layers, std::span<const int64_t> free_bytes);

}  // namespace chatglm
