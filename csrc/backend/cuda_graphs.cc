#include "backend/cuda_graphs.h"

#include <algorithm>

namespace chatglm::cuda {
namespace {

// Enough for a few lengths of context with every small number of rows; a graph takes some memory of
// the device.
constexpr std::size_t kMostSteps = 128;

}  // namespace

void Graphs::run(const GraphKey& key, const std::function<void()>& step,
                 const std::function<void(const RowIdCheck&)>& check_row_ids) {
  Step* const known = find(key);
  if (known == nullptr) {
    step();
    add(key);
    return;
  }
  known->last_use = ++num_uses_;
  if (known->graph.get() == nullptr) {
    record(*known, step);
  } else {
    for (const RowIdCheck& check : known->checks) check_row_ids(check);
  }
  check(cudaGraphLaunch(known->graph.get(), stream_), "run_step");
}

void Graphs::note(const RowIdCheck& check) {
  if (recording_ != nullptr) recording_->checks.push_back(check);
}

int64_t Graphs::num_recorded() const {
  return std::count_if(steps_.begin(), steps_.end(),
                       [](const Step& step) { return step.graph.get() != nullptr; });
}

Graphs::Step* Graphs::find(const GraphKey& key) {
  const auto found =
      std::find_if(steps_.begin(), steps_.end(), [&](const Step& step) { return step.key == key; });
  return found == steps_.end() ? nullptr : &*found;
}

void Graphs::add(const GraphKey& key) {
  if (steps_.size() == kMostSteps) {
    // A graph that is running is kept by the driver until it is done.
    steps_.erase(std::min_element(steps_.begin(), steps_.end(), [](const Step& a, const Step& b) {
      return a.last_use < b.last_use;
    }));
  }
  steps_.push_back({.key = key, .graph = {}, .checks = {}, .last_use = ++num_uses_});
}

// Operations are not run while they are recorded.
void Graphs::record(Step& step, const std::function<void()>& run) {
  step.checks.clear();  // of a recording that failed
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "run_step");
  recording_ = &step;
  const auto end = [&] {
    recording_ = nullptr;
    cudaGraph_t graph = nullptr;
    const cudaError_t result = cudaStreamEndCapture(stream_, &graph);
    return std::pair(Graph(graph), result);
  };
  try {
    run();
  } catch (...) {
    static_cast<void>(end());
    static_cast<void>(cudaGetLastError());
    throw;
  }
  const auto [graph, result] = end();
  check(result, "run_step");
  cudaGraphExec_t exec = nullptr;
  check(cudaGraphInstantiate(&exec, graph.get(), 0), "run_step");
  step.graph = GraphExec(exec);
}

}  // namespace chatglm::cuda
