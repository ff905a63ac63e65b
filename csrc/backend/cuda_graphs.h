// Steps that are run again and again as one launch: the operations of a step are recorded once (a
// CUDA graph) and repeated for steps that differ in the contents of memory only. Knows no
// operations.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda_owned.h"
#include "kernels/cuda/attention.h"

namespace chatglm::cuda {

// All that the arguments of a step's operations depend on.
struct GraphKey {
  const void* owner;
  std::byte* const* pages;
  int64_t rows;
  int64_t num_logit_rows;
  const std::byte* staging;             // where the index arrays are
  const kernels::cuda::RowTile* tiles;  // and what lies behind those of other logits' rows
  int64_t table_stride;
  kernels::cuda::AttentionGrid attention;

  bool operator==(const GraphKey&) const = default;
};

// Row ids that a table of some rows is asked for, in the array at `row_ids` on the device.
struct RowIdCheck {
  const int32_t* row_ids;
  int64_t count;
  int64_t table_rows;
};

class Graphs {
 public:
  explicit Graphs(cudaStream_t stream) : stream_(stream) {}

  // Runs `step`, or what it did for the same key. The first step of a key is run as it is: many
  // never come again. check: called for what was noted while recording, before it is repeated.
  void run(const GraphKey& key, const std::function<void()>& step,
           const std::function<void(const RowIdCheck&)>& check);
  // To be repeated with the step that is recorded; nothing where none is.
  void note(const RowIdCheck& check);
  bool is_recording() const { return recording_ != nullptr; }
  // Forgets all steps. What they point to may be freed then.
  void clear() { steps_.clear(); }

  int64_t num_recorded() const;

 private:
  struct Step {
    GraphKey key;
    GraphExec graph;  // none yet
    std::vector<RowIdCheck> checks;
    int64_t last_use = 0;
  };

  Step* find(const GraphKey& key);
  void add(const GraphKey& key);
  void record(Step& step, const std::function<void()>& run);

  const cudaStream_t stream_;
  std::vector<Step> steps_;
  Step* recording_ = nullptr;
  int64_t num_uses_ = 0;
};

}  // namespace chatglm::cuda
