#include "backend/cuda_self_check.h"

#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "base/float16.h"
#include "tensor/dtype.h"
#include "tensor/q4_0.h"

namespace chatglm::cuda {
namespace {

constexpr const char* kOperation = "self-check of wgmma";

struct Product {
  DType dtype;
  int64_t m, n, k;
};
// Tiles for few rows and for many, weights that are opened to f16 and weights that are bf16: every
// instruction once. With more steps than there are stages, and with fewer; the last is a part of
// one, as the tiles are.
constexpr Product kProducts[] = {{DType::kQ4_0, 37, 77, 288},
                                 {DType::kQ4_0, 101, 77, 224},
                                 {DType::kBF16, 37, 77, 75},
                                 {DType::kBF16, 101, 77, 75}};

using Random = std::minstd_rand;

int small_integer(Random& random) {  // of magnitude 8 at most: sums stay far below 2^24
  return static_cast<int>(random() >> 8 & 15) - 8;
}

std::vector<std::byte> stored_weights(const Product& product, Random& random) {
  std::vector<std::byte> rows(
      static_cast<std::size_t>(product.n * dtype_info(product.dtype).row_bytes(product.k)));
  if (product.dtype == DType::kQ4_0) {
    for (std::size_t at = 0; at < rows.size(); at += sizeof(BlockQ4_0)) {
      BlockQ4_0 block{};
      block.scale = float_to_half(static_cast<float>(1 + (random() >> 8 & 1)));
      for (uint8_t& pair : block.quants) pair = static_cast<uint8_t>(random() >> 8);
      std::memcpy(rows.data() + at, &block, sizeof(block));
    }
  } else {
    for (std::size_t at = 0; at < rows.size(); at += sizeof(BFloat16)) {
      const BFloat16 weight = float_to_bfloat16(static_cast<float>(small_integer(random)));
      std::memcpy(rows.data() + at, &weight, sizeof(weight));
    }
  }
  return rows;
}

// A product on the device.
class Trial {
 public:
  Trial(const Product& product, Random& random, cudaStream_t stream)
      : product_(product),
        layout_(kernels::cuda::weight_layout(product.dtype, product.n, product.k)),
        stream_(stream),
        weights_(layout_.size_bytes),
        x_(product.m * product.k * kFloatBytes),
        prepared_(kernels::cuda::prepared_bytes(product.m, product.k)),
        y_(product.m * product.n * kFloatBytes) {
    std::vector<std::byte> packed(static_cast<std::size_t>(layout_.size_bytes));
    kernels::cuda::pack_rows(stored_weights(product, random).data(), product.n, layout_, 0,
                             packed.data());
    std::vector<float> x(static_cast<std::size_t>(product.m * product.k));
    for (float& value : x) value = static_cast<float>(small_integer(random));
    upload(weights_, packed.data());
    upload(x_, x.data());
  }

  // The outputs' bits; nothing where a launch was refused.
  std::optional<std::vector<uint32_t>> run(const kernels::cuda::DeviceTraits& device) const {
    const auto size = static_cast<std::size_t>(y_.size_bytes());
    check(cudaMemsetAsync(y_.data(), 0xff, size, stream_), kOperation);
    kernels::cuda::linear({.weight = kernels::cuda::device_weight(layout_, weights_.data()),
                           .input = {.x = reinterpret_cast<const float*>(x_.data()),
                                     .prepared = prepared_.data(),
                                     .m = product_.m,
                                     .k = product_.k},
                           .bias = nullptr,
                           .y = reinterpret_cast<float*>(y_.data()),
                           .y_stride = product_.n,
                           .accumulate = false},
                          device, stream_);
    const bool refused = cudaGetLastError() != cudaSuccess;
    std::vector<uint32_t> bits(size / sizeof(uint32_t));
    check(cudaMemcpyAsync(bits.data(), y_.data(), size, cudaMemcpyDeviceToHost, stream_),
          kOperation);
    check(cudaStreamSynchronize(stream_), kOperation);
    if (refused) return std::nullopt;
    return bits;
  }

 private:
  static constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

  void upload(const DeviceMemory& memory, const void* source) const {
    check(cudaMemcpyAsync(memory.data(), source, static_cast<std::size_t>(memory.size_bytes()),
                          cudaMemcpyHostToDevice, stream_),
          kOperation);
    check(cudaStreamSynchronize(stream_), kOperation);  // the source goes
  }

  const Product product_;
  const kernels::cuda::WeightLayout layout_;
  const cudaStream_t stream_;
  const DeviceMemory weights_, x_, prepared_, y_;
};

}  // namespace

bool warpgroups_agree(kernels::cuda::DeviceTraits device, cudaStream_t stream) {
  Random random(1);
  for (const Product& product : kProducts) {
    const Trial trial(product, random, stream);
    device.warpgroups = false;
    const auto expected = trial.run(device);
    device.warpgroups = true;
    if (!expected || trial.run(device) != expected) return false;
  }
  return true;
}

}  // namespace chatglm::cuda
