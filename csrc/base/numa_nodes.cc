#include "base/numa_nodes.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "base/cpu_cores.h"
#include "base/system_text.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace chatglm {

NumaNodes::NumaNodes(std::vector<int> node_of_processor)
    : node_of_processor_(std::move(node_of_processor)) {
  for (const int node : node_of_processor_) count_ = std::max(count_, node + 1);
}

int NumaNodes::node_of(int processor) const {
  const bool is_known =
      processor >= 0 && static_cast<std::size_t>(processor) < node_of_processor_.size();
  return is_known ? node_of_processor_[static_cast<std::size_t>(processor)] : 0;
}

int NumaNodes::current() const {
#if defined(__linux__)
  if (count_ > 1) return node_of(sched_getcpu());
#endif
  return 0;
}

NumaNodes read_numa_nodes(const std::filesystem::path& root, std::span<const int> processors) {
  const std::filesystem::path folder = root / "sys/devices/system/node";
  std::vector<int> node_of_processor;
  int nodes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::optional<std::string> list = read_first_line(entry->path() / "cpulist");
    if (!list) continue;
    bool is_used = false;
    for (const int processor : processors) {
      if (processor < 0 || !list_contains(*list, processor)) continue;
      const auto index = static_cast<std::size_t>(processor);
      if (index >= node_of_processor.size()) node_of_processor.resize(index + 1);
      node_of_processor[index] = nodes;
      is_used = true;
    }
    if (is_used) ++nodes;
  }
  return NumaNodes(std::move(node_of_processor));
}

NumaNodes usable_numa_nodes() {
#if defined(__linux__)
  return read_numa_nodes("/", usable_processors());
#else
  return NumaNodes();
#endif
}

}  // namespace chatglm
