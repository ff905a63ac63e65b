#include "bench/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"

#if defined(_WIN32)
#include <windows.h>
// After windows.h, which it needs.
#include <psapi.h>
#else
#include <sys/resource.h>
#endif

namespace chatglm {
namespace {

constexpr int kRepetitions = 5;

// The shortest of several runs of `work`, in seconds.
template <typename Work>
double best_seconds(const Work& work) {
  double best = 0.0;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (repetition == 0 || elapsed.count() < best) best = elapsed.count();
  }
  return best;
}

// Eight independent sums, so that loads and not the additions are the limit.
uint64_t sum_words(const uint64_t* words, int64_t count) {
  constexpr int64_t kLanes = 8;
  uint64_t sums[kLanes] = {};
  for (int64_t at = 0; at + kLanes <= count; at += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += words[at + lane];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double measure_read_bandwidth(int num_threads) {
  constexpr int64_t kWords = int64_t{1} << 27;       // 1 GiB
  constexpr int64_t kChunkWords = int64_t{1} << 19;  // 4 MiB
  ThreadPool pool(num_threads);
  const auto buffer = std::make_unique_for_overwrite<uint64_t[]>(kWords);
  uint64_t* const words = buffer.get();
  pool.parallel_for(kWords, kChunkWords, [&](int64_t begin, int64_t end, int) {
    std::memset(words + begin, 1, static_cast<std::size_t>(end - begin) * sizeof(uint64_t));
  });
  std::atomic<uint64_t> total{0};  // the sum is used, so the reads can't be optimized away
  const double seconds = best_seconds([&] {
    pool.parallel_for(kWords, kChunkWords, [&](int64_t begin, int64_t end, int) {
      total += sum_words(words + begin, end - begin);
    });
  });
  return total.load() == 0 ? 0.0 : static_cast<double>(kWords * 8) / seconds;
}

double measure_peak(int num_threads, kernels::PeakLoop loop) {
  constexpr int64_t kIterations = 4'000'000;
  ThreadPool pool(num_threads);
  std::atomic<int64_t> operations{0};
  const double seconds = best_seconds([&] {
    operations = 0;
    pool.parallel_for(num_threads, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t item = begin; item < end; ++item) operations += loop(kIterations);
    });
  });
  return static_cast<double>(operations.load()) / seconds;
}

int64_t peak_rss_bytes() {
#if defined(_WIN32)
  PROCESS_MEMORY_COUNTERS counters{};
  const bool known = GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof(counters)) != 0;
  return known ? static_cast<int64_t>(counters.PeakWorkingSetSize) : 0;
#else
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
  return usage.ru_maxrss;
#else
  return usage.ru_maxrss * 1024;  // Linux counts kibibytes
#endif
#endif
}

}  // namespace chatglm
