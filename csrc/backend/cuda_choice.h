// Token choice on the device: packs the rules, has the kernels choose, and waits. What they can't
// say (why there is nothing to choose) is asked of the host's own way. Owns the memory for it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cuda_owned.h"
#include "kernels/cuda/choice.h"
#include "sampling/choice.h"

namespace chatglm::cuda {

class Chooser {
 public:
  // early: the device knows programmatic dependent launch.
  Chooser(cudaStream_t stream, bool early) : stream_(stream), early_(early) {}

  // As Backend::choose(), of at most kMostChoiceColumns columns. Memory grows to what is asked for.
  void choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
              std::span<const ChoiceRule> rules, std::span<Choice> choices);

 private:
  void choose_some(const float* logits, int64_t cols, std::span<const int32_t> rows,
                   std::span<const ChoiceRule> rules, std::span<Choice> choices);
  bool pack(int64_t cols, std::span<const int32_t> rows, std::span<const ChoiceRule> rules);
  void make_room(int64_t packed_bytes, int64_t device_bytes);
  Choice on_host(const float* row, int64_t cols, const ChoiceRule& rule);

  const cudaStream_t stream_;
  const bool early_;
  std::vector<kernels::cuda::ChoiceRow> packed_rows_;
  std::vector<kernels::cuda::ChoiceMark> marks_;
  std::vector<bool> is_for_host_;
  PinnedMemory host_;    // choices, rows, marks
  DeviceMemory device_;  // the same, and the kernels' scratch memory
};

}  // namespace chatglm::cuda
