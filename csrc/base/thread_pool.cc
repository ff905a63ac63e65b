// The fork-join pool. How one call runs:
//
// The items are cut in as many shares as there are NUMA nodes, and shares in chunks, each share
// with a counter of its own. A thread takes the chunks of the node it runs on, then those left of
// others.
//
// The caller writes the job and opens the gate; workers that are awake pass it, take chunks and
// leave. When the chunks are used up the caller shuts the gate and waits for those inside only. A
// worker that is asleep or has no core just now is not waited for: the others have done its share.
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/cpu_cores.h"
#include "base/error.h"

#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#include <intrin.h>
#endif

namespace chatglm {
namespace {

// Longer than the gap between two operators, shorter than anybody would notice on a meter.
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr int kPausesPerClockRead = 32;
constexpr std::size_t kCacheLineBytes = 64;

void pause_cpu() {
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
  _mm_pause();
#elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  asm volatile("yield");
#endif
}

// Waits for the condition for a moment; false where it did not come true.
template <typename Condition>
bool spin_until(const Condition& condition, bool may_spin) {
  if (!may_spin) {  // the core may be needed by the very thread that is waited for
    std::this_thread::yield();
    return condition();
  }
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (condition()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

// The gate's word: the number of workers inside, whether it is open, and the number of the job.
constexpr uint32_t kInsideMask = 0x7ff;
constexpr uint32_t kOpen = 0x800;
constexpr uint32_t kJobStep = 0x1000;
static_assert(ThreadPool::kMaxThreads <= static_cast<int>(kInsideMask));

uint32_t job_of(uint32_t gate) {
  return gate / kJobStep;
}
bool is_open(uint32_t gate) {
  return (gate & kOpen) != 0;
}
uint32_t inside(uint32_t gate) {
  return gate & kInsideMask;
}

int64_t count_chunks(int64_t count, int64_t grain) {
  return count == 0 ? 0 : (count - 1) / grain + 1;
}

}  // namespace

struct ThreadPool::State {
  State(int num_threads_in, NumaNodes nodes_in)
      : num_threads(num_threads_in),
        may_spin(num_threads_in <= count_usable_processors()),
        nodes(std::move(nodes_in)),
        shares(static_cast<std::size_t>(nodes.count())) {
    try {
      for (int thread = 1; thread < num_threads; ++thread) {
        workers.emplace_back([this, thread] { run_worker(thread); });
      }
    } catch (const std::system_error& error) {
      stop();
      throw Error(ErrorKind::kDevice,
                  "can't start " + std::to_string(num_threads) + " threads: " + error.what());
    }
  }
  ~State() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping.store(true);
    }
    work_available.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void run_worker(int thread) {
    uint32_t last_job = 0;
    const auto has_news = [&] {
      const uint32_t now = gate.load();
      return stopping.load() || (is_open(now) && job_of(now) != last_job);
    };
    while (true) {
      if (!spin_until(has_news, may_spin)) {
        std::unique_lock lock(mutex);
        // Counted before has_news looks at the gate, and the caller opens the gate before it looks
        // at the count: one of the two sees the other, so no wake-up is lost.
        sleepers.fetch_add(1);
        work_available.wait(lock, has_news);
        sleepers.fetch_sub(1);
      }
      if (stopping.load()) return;
      if (enter(last_job)) {
        take_chunks(thread);
        leave();
      }
    }
  }

  // False where the job was over first. last_job becomes the job that was seen.
  bool enter(uint32_t& last_job) {
    uint32_t now = gate.load();
    while (is_open(now)) {
      if (gate.compare_exchange_weak(now, now + 1)) {
        last_job = job_of(now);
        return true;
      }
    }
    return false;
  }

  void leave() {
    const uint32_t now = gate.fetch_sub(1) - 1;
    if (!is_open(now) && inside(now) == 0 && caller_sleeps.load()) {
      const std::lock_guard lock(mutex);
      all_left.notify_one();
    }
  }

  void take_chunks(int thread) {
    const std::size_t home = static_cast<std::size_t>(nodes.current());
    for (std::size_t i = 0; i < shares.size(); ++i) {
      Share& share = shares[(home + i) % shares.size()];
      while (true) {
        const int64_t chunk = share.next_chunk.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= share.num_chunks) break;
        const int64_t begin = share.begin + chunk * grain;
        (*body)(begin, begin + std::min(grain, share.end - begin), thread);
      }
    }
  }

  void run(int64_t count, int64_t grain_in, const RangeBody& body_in) {
    grain = grain_in;
    body = &body_in;
    int64_t num_chunks = 0;
    const auto num_shares = static_cast<int64_t>(shares.size());
    for (int64_t i = 0, begin = 0; i < num_shares; ++i) {
      Share& share = shares[static_cast<std::size_t>(i)];
      share.begin = begin;
      share.end = begin + count / num_shares + (i < count % num_shares ? 1 : 0);
      share.num_chunks = count_chunks(share.end - share.begin, grain);
      share.next_chunk.store(0, std::memory_order_relaxed);
      num_chunks += share.num_chunks;
      begin = share.end;
    }
    gate.store(job_of(gate.load()) * kJobStep + kJobStep + kOpen);
    wake(num_chunks - 1);
    take_chunks(0);
    gate.fetch_and(~kOpen);
    const auto is_empty = [this] { return inside(gate.load()) == 0; };
    if (!spin_until(is_empty, may_spin)) {
      std::unique_lock lock(mutex);
      caller_sleeps.store(true);  // before is_empty looks at the gate, as above
      all_left.wait(lock, is_empty);
      caller_sleeps.store(false);
    }
  }

  // Wakes sleepers for the chunks that this thread does not take itself.
  void wake(int64_t wanted) {
    const int64_t asleep = sleepers.load();
    if (asleep == 0) return;
    {
      // The lock makes sure that who is counted is already waiting.
      const std::lock_guard lock(mutex);
    }
    if (wanted >= asleep) {
      work_available.notify_all();
    } else {
      for (int64_t i = 0; i < wanted; ++i) work_available.notify_one();
    }
  }

  const int num_threads;
  const bool may_spin;
  const NumaNodes nodes;

  // The job. Written only while the gate is shut and nobody is inside.
  struct alignas(kCacheLineBytes) Share {
    int64_t begin = 0, end = 0;
    int64_t num_chunks = 0;
    alignas(kCacheLineBytes) std::atomic<int64_t> next_chunk{0};
  };
  std::vector<Share> shares;  // by node
  int64_t grain = 1;
  const RangeBody* body = nullptr;

  alignas(kCacheLineBytes) std::atomic<uint32_t> gate{0};
  alignas(kCacheLineBytes) std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable work_available;
  std::condition_variable all_left;

  std::vector<std::thread> workers;  // last: they use all of the above
};

ThreadPool::ThreadPool(int num_threads) : ThreadPool(num_threads, usable_numa_nodes()) {}

ThreadPool::ThreadPool(int num_threads, NumaNodes nodes) {
  if (num_threads < 0 || num_threads > kMaxThreads) {
    throw Error(ErrorKind::kInvalidArgument,
                "expected 0 (automatic) to " + std::to_string(kMaxThreads) + ", found " +
                    std::to_string(num_threads),
                "num_threads");
  }
  state_ = std::make_unique<State>(num_threads == 0 ? default_num_threads() : num_threads,
                                   std::move(nodes));
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::num_threads() const {
  return state_->num_threads;
}

void ThreadPool::parallel_for(int64_t count, int64_t grain, RangeBody body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (state_->num_threads == 1 || count <= grain) {  // not worth waking anybody
    for (int64_t begin = 0; begin < count;) {
      const int64_t end = begin + std::min(grain, count - begin);
      body(begin, end, 0);
      begin = end;
    }
    return;
  }
  state_->run(count, grain, body);
}

}  // namespace chatglm
