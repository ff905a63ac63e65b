// See devices.h.
#include "pipeline/devices.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "backend/registry.h"
#include "base/error.h"

namespace chatglm {
namespace {

constexpr std::string_view kCpu = "cpu";

[[noreturn]] void invalid(const std::string& message) {
  throw Error(ErrorKind::kInvalidArgument, message);
}

}  // namespace

std::vector<std::string> split_device_list(std::string_view device) {
  std::vector<std::string> devices;
  const std::size_t colon = device.find(':');
  if (colon == std::string_view::npos || device.find(',', colon) == std::string_view::npos) {
    devices.emplace_back(device);
    return devices;
  }
  const std::string prefix(device.substr(0, colon + 1));
  for (std::size_t begin = colon + 1; begin <= device.size();) {
    const std::size_t end = std::min(device.find(',', begin), device.size());
    devices.push_back(prefix + std::string(device.substr(begin, end - begin)));
    if (std::count(devices.begin(), devices.end(), devices.back()) > 1) {
      invalid("device '" + std::string(device) + "' names " + devices.back() + " twice");
    }
    begin = end + 1;
  }
  return devices;
}

std::vector<int64_t> divide_layers(int64_t num_layers, std::span<const int64_t> free_bytes) {
  const auto used = std::min<std::size_t>(free_bytes.size(), static_cast<std::size_t>(num_layers));
  double total = 0;
  for (std::size_t i = 0; i < used; ++i) total += static_cast<double>(free_bytes[i]);
  std::vector<int64_t> layers(free_bytes.size(), 0);
  double passed = 0;
  int64_t begin = 0;
  for (std::size_t i = 0; i < used; ++i) {
    passed += static_cast<double>(free_bytes[i]);
    const auto behind = static_cast<int64_t>(used - 1 - i);  // devices that want one each
    const int64_t end = behind == 0 || total <= 0
                            ? (behind == 0 ? num_layers : begin + 1)
                            : std::clamp(static_cast<int64_t>(std::llround(
                                             passed / total * static_cast<double>(num_layers))),
                                         begin + 1, num_layers - behind);
    layers[i] = end - begin;
    begin = end;
  }
  return layers;
}

Devices::Devices(std::string_view device, std::optional<int64_t> gpu_layers, int num_threads,
                 int64_t num_layers) {
  if (gpu_layers && *gpu_layers < 0) {
    invalid("gpu_layers is 0 or more, found " + std::to_string(*gpu_layers));
  }
  const std::vector<std::string> names = split_device_list(device);
  const int64_t on_gpus = std::min(gpu_layers.value_or(num_layers), num_layers);
  // All on the CPU is all right everywhere; a GPU that is asked for must be there.
  if (on_gpus < num_layers) add(kCpu, num_threads);
  if (on_gpus > 0) {
    for (const std::string& name : names) {
      add(gpu_layers && name == "auto" ? "cuda" : name, num_threads);
      if (gpu_layers && backends_.back()->device() == kCpu) {
        invalid("gpu_layers is for a GPU, found " + std::to_string(*gpu_layers) + " with device '" +
                std::string(device) + "'");
      }
    }
  }

  const std::size_t num_cpus = on_gpus < num_layers ? 1 : 0;
  std::vector<int64_t> free_bytes;
  for (std::size_t i = num_cpus; i < backends_.size(); ++i) {
    free_bytes.push_back(backends_[i]->free_memory_bytes().value_or(1));
  }
  if (num_cpus > 0) layers_each_.push_back(num_layers - on_gpus);
  if (on_gpus > 0) {
    const std::vector<int64_t> divided = divide_layers(on_gpus, free_bytes);
    layers_each_.insert(layers_each_.end(), divided.begin(), divided.end());
  }
  while (layers_each_.back() == 0) {
    layers_each_.pop_back();
    backends_.pop_back();
  }
  std::vector<PlacedLayers> parts;
  int64_t begin = 0;
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    parts.push_back({backends_[i].get(), begin, begin + layers_each_[i]});
    begin += layers_each_[i];
  }
  placement_.emplace(std::move(parts));
}

void Devices::add(std::string_view device, int num_threads) {
  backends_.push_back(create_backend(device, {.num_threads = num_threads}));
}

std::string Devices::description() const {
  if (backends_.size() == 1) return backends_.front()->description();
  std::string text;
  int64_t begin = 0;
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    const int64_t end = begin + layers_each_[i];
    text += (i == 0 ? "layers " : "; layers ") + std::to_string(begin) + " to " +
            std::to_string(end - 1) + ": " + backends_[i]->description();
    begin = end;
  }
  return text;
}

RecordingBackend& Devices::record_inputs() {
  if (backends_.size() > 1) {
    invalid("inputs are recorded on one device, found " + std::to_string(backends_.size()));
  }
  auto recording = std::make_unique<RecordingBackend>(std::move(backends_.front()));
  RecordingBackend& recorder = *recording;
  backends_.front() = std::move(recording);
  placement_.emplace(std::vector<PlacedLayers>{{&recorder, 0, layers_each_.front()}});
  return recorder;
}

}  // namespace chatglm
