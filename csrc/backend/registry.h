// The table of devices. A new device is one row.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backend/backend.h"

namespace chatglm {

struct BackendOptions {
  int num_threads = 0;  // 0: default_num_threads()
};

struct BackendEntry {
  std::string_view device;  // "cpu"
  bool (*available)();
  std::unique_ptr<Backend> (*create)(const BackendOptions& options);
};

std::span<const BackendEntry> all_backends();
// device: a name of the table or "auto" (the first that is available).
// Throws Error{kInvalidArgument} for an unknown name (lists the known ones), Error{kDevice} where
// it is not available here.
std::unique_ptr<Backend> create_backend(std::string_view device, const BackendOptions& options);

}  // namespace chatglm
