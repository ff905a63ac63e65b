// Which processors share a memory controller. Owns the table; moves and pins nothing.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

namespace chatglm {

class NumaNodes {
 public:
  NumaNodes() = default;  // one node: nothing to choose
  // By processor number, the node it belongs to, 0 and up; processors not in the list: node 0.
  explicit NumaNodes(std::vector<int> node_of_processor);

  int count() const { return count_; }
  int node_of(int processor) const;
  // The node of the processor that runs the calling thread just now.
  int current() const;

 private:
  std::vector<int> node_of_processor_;
  int count_ = 1;
};

// The nodes of these processors (numbers as Linux gives them), from sysfs under `root`. Nodes
// without one of them do not count; where nothing can be read there is one node.
NumaNodes read_numa_nodes(const std::filesystem::path& root, std::span<const int> processors);

// Those of the processors this process may run on; one node outside of Linux.
NumaNodes usable_numa_nodes();

}  // namespace chatglm
