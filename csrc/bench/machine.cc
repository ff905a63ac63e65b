#include "bench/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "backend/host_memory.h"
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

// The loops of the best table, whichever is forced: memory does not care who reads it.
const kernels::KernelTable& best_table() {
  for (const kernels::KernelTable* table : kernels::all_kernel_tables()) {
    if (table->supported()) return *table;
  }
  return *kernels::all_kernel_tables().back();
}

}  // namespace

double measure_read_bandwidth(int num_threads) {
  constexpr int64_t kFloats = int64_t{1} << 28;       // 1 GiB, on huge pages where there are any
  constexpr int64_t kChunkFloats = int64_t{1} << 20;  // 4 MiB
  const auto read = best_table().peak_read;
  ThreadPool pool(num_threads);
  const HostMemory memory(kFloats * static_cast<int64_t>(sizeof(float)));
  auto* const floats = reinterpret_cast<float*>(memory.data());
  pool.parallel_for(kFloats, kChunkFloats, [&](int64_t begin, int64_t end, int) {
    std::fill(floats + begin, floats + end, 1.0F);
  });
  std::atomic<float> total{0.0F};  // the sum is used, so the reads can't be optimized away
  double best = 0.0;
  for (const int streams : {1, 2, 4}) {
    const double seconds = best_seconds([&] {
      pool.parallel_for(kFloats, kChunkFloats, [&](int64_t begin, int64_t end, int) {
        total = read(floats + begin, end - begin, streams);
      });
    });
    best = std::max(best, static_cast<double>(memory.size_bytes()) / seconds);
  }
  return total.load() > 0.0F ? best : 0.0;
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

ProductPeak product_peak(const kernels::KernelTable& table, DType weights, int64_t rows) {
  if (table.peak_matrix != nullptr && rows > table.linear_kernel(weights).rows_before_bf16) {
    return {"bf16 matrix unit", table.peak_matrix};
  }
  if (dtype_info(weights).is_quantized()) return {"int8 dot product", table.peak_int8};
  return {"f32 multiply-add", table.peak_f32};
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
