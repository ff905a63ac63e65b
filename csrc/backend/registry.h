// The table of devices. A new device is one row.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"

namespace chatglm {

struct BackendOptions {
  int num_threads = 0;   // 0: default_num_threads()
  int device_index = 0;  // of several devices of one kind
};

struct BackendEntry {
  std::string_view device;  // "cpu"
  // Whether there may be several: "cuda:1" is the second, "cuda" the first.
  bool is_numbered;
  // Why there is no such device here, for people; empty: there is one. Does not throw.
  std::string (*why_unavailable)(int device_index);
  std::unique_ptr<Backend> (*create)(const BackendOptions& options);

  bool available(int device_index = 0) const { return why_unavailable(device_index).empty(); }
};

std::span<const BackendEntry> all_backends();
// device: a name of the table, with a number where there may be several, or "auto" (the first that
// is available).
// Throws Error{kInvalidArgument} for an unknown name (lists the known ones), Error{kDevice} saying
// why where it is not available here.
std::unique_ptr<Backend> create_backend(std::string_view device, const BackendOptions& options);

}  // namespace chatglm
