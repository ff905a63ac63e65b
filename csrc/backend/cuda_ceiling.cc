#include "backend/cuda_ceiling.h"

#include <algorithm>

#include "kernels/cuda/ceiling.h"

namespace chatglm::cuda {
namespace {

constexpr int64_t kCopiedBytes = int64_t{512} << 20;  // far more than the caches hold
constexpr int64_t kProducts = 20'000;                 // of each warp: some milliseconds
constexpr int kRepetitions = 20;

// The shortest of several runs of `work`, in seconds.
template <typename Work>
double best_seconds(cudaStream_t stream, const Work& work) {
  const Event begin = make_timing_event(), end = make_timing_event();
  double best = 0;
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    check(cudaEventRecord(begin.get(), stream), "measure");
    work();
    check_launch("measure");
    check(cudaEventRecord(end.get(), stream), "measure");
    check(cudaEventSynchronize(end.get()), "measure");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "measure");
    const double seconds = 1e-3 * static_cast<double>(milliseconds);
    if (repetition == 0 || seconds < best) best = seconds;
  }
  return best;
}

}  // namespace

DeviceCeiling measure_ceiling(const Device& device, cudaStream_t stream) {
  const DeviceMemory from(kCopiedBytes), to(kCopiedBytes);
  check(cudaMemsetAsync(from.data(), 1, static_cast<std::size_t>(kCopiedBytes), stream), "measure");
  const double copy_seconds = best_seconds(stream, [&] {
    kernels::cuda::copy_through_registers(from.data(), to.data(), kCopiedBytes,
                                          device.multiprocessors, stream);
  });
  const int64_t operations = kernels::cuda::bf16_products(
      device.multiprocessors, kProducts, reinterpret_cast<float*>(to.data()), stream);
  const double product_seconds = best_seconds(stream, [&] {
    kernels::cuda::bf16_products(device.multiprocessors, kProducts,
                                 reinterpret_cast<float*>(to.data()), stream);
  });
  return {.copy_bytes_per_second = 2.0 * static_cast<double>(kCopiedBytes) / copy_seconds,
          .operations_per_second = static_cast<double>(operations) / product_seconds,
          .operations = "bf16 mma.sync"};
}

}  // namespace chatglm::cuda
