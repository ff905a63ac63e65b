// kv_store(), rope() and rotate_and_store() on the device against the reference.
#include "cuda_kernels/device_cache.h"
#include "kernels/cuda/attention.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 23;
constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kQ8_0};

using KvStore = CudaKernelTest;
using Rope = CudaKernelTest;

struct Rows {
  Rows(Random& random, const PagedCase& cache, int64_t kv_size, float scale)
      : stride(kv_size + 3),
        keys(random.normals(cache.rows() * stride, scale)),
        values(random.normals(cache.rows() * stride, scale)) {}
  int64_t stride;
  std::vector<float> keys, values;
};

TEST_F(KvStore, WritesTheBytesOfTheReference) {
  Random random(kSeed);
  for (const DType dtype : kTypes) {
    for (const int64_t head_dim : {32, 64, 128, 160}) {
      for (const int64_t page_tokens : {1, 5, 16}) {
        for (const float scale : {1.0f, 1e-3f, 3e4f, 1e-42f, 1e30f}) {
          PagedCase cache(random, {dtype, 3, head_dim, page_tokens}, {20, 3});
          cache.choose_rows(7);
          Rows rows(random, cache, 3 * head_dim, scale);
          rows.keys[1] = 0;
          std::fill_n(rows.values.begin(), head_dim, 0.0f);  // a block of zeros
          rows.values[static_cast<std::size_t>(rows.stride)] =
              std::numeric_limits<float>::infinity();
          const DeviceCache device(cache);
          const DeviceArray<float> keys(rows.keys, 1), values(rows.values, 2);
          kv_store({keys.data(), values.data(), rows.stride, PagedCase::kLayer, device.view(),
                    device.ragged(0, cache.rows())},
                   nullptr);
          reference::kv_store({rows.keys.data(), rows.values.data(), rows.stride, PagedCase::kLayer,
                               cache.view(), cache.ragged()});
          ASSERT_TRUE(same_bits(device.bytes(), cache.memory(), cache.memory().size()))
              << dtype_info(dtype).name << " head_dim=" << head_dim << " pages of " << page_tokens
              << " scale=" << scale;
        }
      }
    }
  }
}

// Halves between two codes and between two half floats.
TEST_F(KvStore, RoundsAsTheReference) {
  Random random(kSeed);
  for (const DType dtype : kTypes) {
    PagedCase cache(random, {dtype, 1, 256, 4}, {1});
    cache.choose_rows(1);
    std::vector<float> keys(256), values(256);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      keys[i] = i % 32 == 0 ? 127.0f : static_cast<float>(i) - 128.5f;
      values[i] = 1 + (static_cast<float>(i) - 100) / 2048;
    }
    const DeviceCache device(cache);
    const DeviceArray<float> device_keys(keys), device_values(values);
    kv_store({device_keys.data(), device_values.data(), 256, 0, device.view(), device.ragged(0, 1)},
             nullptr);
    reference::kv_store({keys.data(), values.data(), 256, 0, cache.view(), cache.ragged()});
    ASSERT_TRUE(same_bits(device.bytes(), cache.memory(), cache.memory().size()));
  }
}

TEST_F(KvStore, NanDoesNotVanish) {
  Random random(kSeed);
  for (const DType dtype : kTypes) {
    PagedCase cache(random, {dtype, 1, 64, 4}, {1});
    cache.choose_rows(1);
    std::vector<float> keys(64, 1.0f);
    keys[40] = std::numeric_limits<float>::quiet_NaN();
    const DeviceCache device(cache);
    const DeviceArray<float> device_keys(keys);
    kv_store({device_keys.data(), device_keys.data(), 64, 0, device.view(), device.ragged(0, 1)},
             nullptr);
    std::vector<std::byte> bytes = device.bytes();
    bytes.resize(static_cast<std::size_t>(cache.view().token_bytes()));
    const std::vector<float> stored = decoded(dtype, bytes, 64);
    for (std::size_t i = 0; i < stored.size(); ++i) {
      ASSERT_EQ(std::isnan(stored[i]), dtype == DType::kQ8_0 ? i >= 32 : i == 40) << i;
    }
  }
}

// How pairs lie: rotary_dim and pair_span.
struct Pairs {
  int64_t head_dim, rotary_dim, pair_span;
};
constexpr Pairs kPairs[] = {{128, 64, 2}, {128, 128, 128}, {64, 32, 32},
                            {6, 4, 4},    {5, 2, 2},       {128, 128, 64}};

struct Rotation {
  Rotation(Random& random, int64_t rows, const Pairs& pairs)
      : cos_sin(random.normals(rows * pairs.rotary_dim)), scale(random.normals(rows)) {}
  std::vector<float> cos_sin, scale;
};

TEST_F(Rope, MatchesReference) {
  Random random(kSeed);
  for (const Pairs& pairs : kPairs) {
    for (const bool is_scaled : {false, true}) {
      const int64_t rows = 3, heads = 5, stride = heads * pairs.head_dim + 7;
      Rotation rotation(random, rows, pairs);
      std::vector<float> x = random.normals(rows * stride);
      const DeviceArray<float> device_x(x, 1), cos_sin(rotation.cos_sin), scale(rotation.scale);
      RopeArgs args{device_x.data(),
                    cos_sin.data(),
                    is_scaled ? scale.data() : nullptr,
                    rows,
                    stride,
                    heads,
                    pairs.head_dim,
                    pairs.rotary_dim,
                    pairs.pair_span};
      rope(args, nullptr);
      std::vector<float> largest(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) largest[i] = 6 * 6 * 2 * 6;
      args.x = x.data();
      args.cos_sin = rotation.cos_sin.data();
      args.row_scale = is_scaled ? rotation.scale.data() : nullptr;
      reference::rope(args);
      std::vector<double> bound;
      for (const float value : largest) bound.push_back(3 * kUnit * value);
      ASSERT_TRUE(within(device_x.values(), x, bound)) << pairs.head_dim;
    }
  }
}

// One kernel for three: the same bits.
TEST_F(Rope, AndStoreAtOnce) {
  Random random(kSeed);
  for (const DType dtype : kTypes) {
    for (const Pairs& pairs : kPairs) {
      if (dtype == DType::kQ8_0 && pairs.head_dim % 32 != 0) continue;
      for (const int64_t kv_heads : {1, 2, 5}) {
        const int64_t heads = 2 * kv_heads, size = (heads + 2 * kv_heads) * pairs.head_dim;
        PagedCase cache(random, {dtype, kv_heads, pairs.head_dim, 4}, {9, 2});
        cache.choose_rows(3);
        const int64_t rows = cache.rows();
        Rotation rotation(random, rows, pairs);
        const std::vector<float> qkv = random.normals(rows * size);
        const DeviceArray<float> cos_sin(rotation.cos_sin), scale(rotation.scale);

        // As they are called one by one, and together.
        const auto args_of = [&](const DeviceArray<float>& x, const DeviceCache& device) {
          float* const keys = x.data() + heads * pairs.head_dim;
          float* const values = keys + kv_heads * pairs.head_dim;
          const RopeArgs queries{x.data(), cos_sin.data(), scale.data(),     rows,           size,
                                 heads,    pairs.head_dim, pairs.rotary_dim, pairs.pair_span};
          RopeArgs rotated_keys = queries;
          rotated_keys.x = keys;
          rotated_keys.row_scale = nullptr;
          rotated_keys.heads = kv_heads;
          return RotateAndStoreArgs{
              queries,
              rotated_keys,
              {keys, values, size, PagedCase::kLayer, device.view(), device.ragged(0, rows)}};
        };
        const DeviceCache one_by_one(cache), at_once(cache);
        const DeviceArray<float> x(qkv), y(qkv);
        const RotateAndStoreArgs separate = args_of(x, one_by_one);
        rope(separate.queries, nullptr);
        rope(separate.keys, nullptr);
        kv_store(separate.store, nullptr);
        rotate_and_store(args_of(y, at_once), nullptr);
        ASSERT_TRUE(same_bits(at_once.bytes(), one_by_one.bytes(), cache.memory().size()));
        const std::vector<float> rotated = y.values(), expected = x.values();
        for (int64_t row = 0; row < rows; ++row) {
          const auto begin = static_cast<std::ptrdiff_t>(row * size);
          ASSERT_TRUE(same_bits(std::vector<float>(rotated.begin() + begin, rotated.end()),
                                std::vector<float>(expected.begin() + begin, expected.end()),
                                heads * pairs.head_dim));
        }
      }
    }
  }
}

TEST_F(Rope, NoRowsIsNothing) {
  rope({}, nullptr);
  kv_store({}, nullptr);
}

}  // namespace
}  // namespace chatglm::kernels::cuda
