// Fork-join threads for kernels. Owns the worker threads; knows nothing of what they compute.
//
// Work is handed out in chunks from a shared counter, so a slow core (an efficiency core, or one
// that somebody else is using) takes fewer chunks instead of holding the others up. Between calls
// workers spin for a short moment (the next operator follows within microseconds), then sleep.
//
// On a machine of several NUMA nodes each node has a fixed share of the items of a call, which its
// threads take first: what they wrote in one call they find in their own memory in the next call of
// as many items. No thread is pinned.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "base/numa_nodes.h"

namespace chatglm {

// A non-owning reference to a callable (begin, end, thread): no allocation per call.
class RangeBody {
 public:
  template <typename Callable,
            typename = std::enable_if_t<!std::is_same_v<std::decay_t<Callable>, RangeBody>>>
  RangeBody(const Callable& callable)  // NOLINT: implicit by design
      : object_(&callable), invoke_([](const void* object, int64_t begin, int64_t end, int thread) {
          (*static_cast<const Callable*>(object))(begin, end, thread);
        }) {}

  void operator()(int64_t begin, int64_t end, int thread) const {
    invoke_(object_, begin, end, thread);
  }

 private:
  const void* object_;
  void (*invoke_)(const void*, int64_t, int64_t, int);
};

class ThreadPool {
 public:
  // num_threads counts the calling thread; 0 means default_num_threads().
  // Throws Error{kInvalidArgument} below 0 or above kMaxThreads.
  static constexpr int kMaxThreads = 1024;
  explicit ThreadPool(int num_threads = 0);
  ThreadPool(int num_threads, NumaNodes nodes);  // those of the machine, unless told
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Calls body(begin, end, thread) over disjoint chunks of at most `grain` items that together are
  // [0, count), `thread` in [0, num_threads()); returns when all are done. One call at a time; body
  // must not throw.
  void parallel_for(int64_t count, int64_t grain, RangeBody body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The physical performance cores this process may use: its affinity mask and its cgroup CPU quota
// are respected, SMT siblings and efficiency cores are not counted. At least 1.
int default_num_threads();

}  // namespace chatglm
