#include "backend/registry.h"

#include <array>
#include <string>

#include "backend/cpu_backend.h"
#include "base/error.h"

namespace chatglm {
namespace {

// Best first: "auto" takes the first that is available.
constexpr std::array kBackends = {
    BackendEntry{"cpu", [] { return true; }, create_cpu_backend},
};

std::string known_devices() {
  std::string names = "auto";
  for (const BackendEntry& entry : kBackends) names += ", " + std::string(entry.device);
  return names;
}

}  // namespace

std::span<const BackendEntry> all_backends() {
  return kBackends;
}

std::unique_ptr<Backend> create_backend(std::string_view device, const BackendOptions& options) {
  const bool any = device == "auto";
  bool known = any;
  for (const BackendEntry& entry : kBackends) {
    if (!any && entry.device != device) continue;
    known = true;
    if (entry.available()) return entry.create(options);
  }
  if (!known) {
    throw Error(ErrorKind::kInvalidArgument,
                "unknown device '" + std::string(device) + "'; expected one of " + known_devices());
  }
  throw Error(ErrorKind::kDevice, "device '" + std::string(device) + "' is not available here");
}

}  // namespace chatglm
