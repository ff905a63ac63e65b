// What the emulation tells tests, as a real GPU answers: nothing. compute-sanitizer tells there
// what kernels did wrong.
#pragma once

#include <string>
#include <vector>

namespace cuda_emulation {

struct Counts {
  bool operator==(const Counts&) const = default;
};
inline Counts live_counts() {
  return {};
}

inline std::vector<std::string> take_reports() {
  return {};
}

}  // namespace cuda_emulation
