#include "backend/registry.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "backend/cpu_backend.h"
#include "base/error.h"

#ifdef CHATGLM_HAS_CUDA
#include "backend/cuda_backend.h"
#endif

namespace chatglm {
namespace {

#ifdef CHATGLM_HAS_CUDA
constexpr BackendEntry kCuda{"cuda", true, why_no_cuda, create_cuda_backend};
#else
constexpr BackendEntry kCuda{
    "cuda", true,
    [](int) -> std::string {
      return "this build has no CUDA support; install with "
             "`pip install . -C cmake.define.CHATGLM_CUDA=ON`";
    },
    [](const BackendOptions&) { return std::unique_ptr<Backend>(); }};  // who would call it?
#endif

// Best first: "auto" takes the first that is available.
constexpr std::array kBackends = {
    kCuda,
    BackendEntry{"cpu", false, [](int) { return std::string(); }, create_cpu_backend},
};

std::string known_devices() {
  std::string names = "auto";
  for (const BackendEntry& entry : kBackends) {
    names += ", " + std::string(entry.device);
    if (entry.is_numbered) names += ", " + std::string(entry.device) + ":N";
  }
  return names;
}

// The number N of "name:N", 0 of "name" alone; nothing where the entry is not meant.
std::optional<int> index_of(const BackendEntry& entry, std::string_view device) {
  if (!device.starts_with(entry.device)) return std::nullopt;
  device.remove_prefix(entry.device.size());
  if (device.empty()) return 0;
  if (!entry.is_numbered || !device.starts_with(":")) return std::nullopt;
  device.remove_prefix(1);
  if (!std::all_of(device.begin(), device.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  int index = 0;
  const auto [end, problem] = std::from_chars(device.data(), device.data() + device.size(), index);
  return problem == std::errc() && end != device.data() ? std::optional(index) : std::nullopt;
}

}  // namespace

std::span<const BackendEntry> all_backends() {
  return kBackends;
}

std::unique_ptr<Backend> create_backend(std::string_view device, const BackendOptions& options) {
  for (const BackendEntry& entry : kBackends) {
    if (device == "auto") {
      if (entry.available()) return entry.create(options);
      continue;
    }
    const std::optional<int> index = index_of(entry, device);
    if (!index) continue;
    const std::string problem = entry.why_unavailable(*index);
    if (!problem.empty()) {
      throw Error(ErrorKind::kDevice, problem, "device '" + std::string(device) + "'");
    }
    BackendOptions own = options;
    own.device_index = *index;
    return entry.create(own);
  }
  throw Error(ErrorKind::kInvalidArgument,
              "unknown device '" + std::string(device) + "'; expected one of " + known_devices());
}

}  // namespace chatglm
