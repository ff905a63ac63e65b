// Inputs of products in the forms that the kernels read, against the reference.
#include "kernels/cuda/prepare_input.h"

#include "cuda_kernels/test_support.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 7;
constexpr float kEpsilon = 1e-5F;

using PrepareInput = CudaKernelTest;

enum class Source { kPlain, kNormed, kGated };

struct Case {
  int64_t m, k;
  Source source;
  std::vector<float> x;       // (m, k), gated (m, 2 k)
  std::vector<float> weight;  // (k)
};

Case make_case(Random& random, int64_t m, int64_t k, Source source, float scale = 1) {
  const int64_t cols = source == Source::kGated ? 2 * k : k;
  return {m, k, source, random.normals(m * cols, scale), random.normals(k)};
}

std::vector<std::byte> prepared(const Case& test, InputForm form, int64_t misalign = 0) {
  const DeviceArray<float> x(test.x, misalign), weight(test.weight);
  const DeviceArray<std::byte> bytes(prepared_bytes(test.m, test.k));
  prepare_input({.x = x.data(),
                 .norm_weight = test.source == Source::kNormed ? weight.data() : nullptr,
                 .norm_epsilon = kEpsilon,
                 .gated = test.source == Source::kGated,
                 .prepared = bytes.data(),
                 .m = test.m,
                 .k = test.k},
                form, nullptr);
  return bytes.values();
}

template <typename T>
T read(const std::vector<std::byte>& bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// The f32 form without its filling. (m, k)
std::vector<float> written_out(const Case& test) {
  const std::vector<std::byte> bytes = prepared(test, InputForm::kF32);
  const int64_t cols = input_cols(InputForm::kF32, test.k);
  std::vector<float> rows;
  for (int64_t i = 0; i < test.m * cols; ++i) {
    const auto value = read<float>(bytes, i);
    if (i % cols < test.k) {
      rows.push_back(value);
    } else {
      EXPECT_EQ(value, 0.0F) << "not filled up";
    }
  }
  return rows;
}

// Tails of quads, of 64, and rows that a block can't keep in registers.
constexpr int64_t kCols[] = {1, 5, 31, 64, 100, 1056, 4100, 16500};
constexpr Source kSources[] = {Source::kPlain, Source::kNormed, Source::kGated};

TEST_F(PrepareInput, NormsAndGatesLikeTheReference) {
  Random random(kSeed);
  for (const int64_t k : kCols) {
    for (const Source source : kSources) {
      const Case test = make_case(random, 2, k, source, 3);
      std::vector<float> expected(static_cast<std::size_t>(2 * k));
      std::vector<double> bound(expected.size(), 0.0);
      if (source == Source::kPlain) {
        expected = test.x;
      } else if (source == Source::kNormed) {
        reference::rms_norm({test.x.data(), test.weight.data(), expected.data(), 2, k, kEpsilon});
        for (std::size_t i = 0; i < bound.size(); ++i) {
          bound[i] = (static_cast<double>(k) / 2 + 6) * kUnit * std::fabs(expected[i]);
        }
      } else {
        reference::silu_mul({test.x.data(), expected.data(), 2, k});
        for (std::size_t i = 0; i < bound.size(); ++i) {
          const std::size_t row = i / static_cast<std::size_t>(k);
          const float gate = test.x[i + row * static_cast<std::size_t>(k)];
          // The device's fast exp is off by two units and one more for each power of 2.
          bound[i] = (12 + 3 * std::fabs(gate)) * kUnit * std::fabs(expected[i]);
        }
      }
      ASSERT_TRUE(within(written_out(test), expected, bound)) << "k=" << k;
    }
  }
}

// What a norm or a gate makes of a row is rounded like the same row given as it is.
TEST_F(PrepareInput, EveryFormHasTheSameValues) {
  Random random(kSeed);
  for (const int64_t k : {int64_t{32}, int64_t{1056}, int64_t{16640}}) {
    for (const int64_t m : {1, 3}) {
      for (const Source source : kSources) {
        const Case test = make_case(random, m, k, source, 3);
        Case plain{m, k, Source::kPlain, written_out(test), test.weight};
        for (const InputForm form : {InputForm::kInt8, InputForm::kF16, InputForm::kBF16}) {
          const std::vector<std::byte> expected = prepared(plain, form);
          EXPECT_EQ(prepared(test, form), expected) << "k=" << k << " m=" << m;
          EXPECT_EQ(prepared(plain, form, 1), expected) << "not aligned, k=" << k << " m=" << m;
        }
      }
    }
  }
}

TEST_F(PrepareInput, HalvesHaveAScaleThatIsAPowerOfTwo) {
  Random random(kSeed);
  for (const float size : {1e-30F, 1e-5F, 1.0F, 1e5F, 1e30F}) {
    for (const int64_t k : kCols) {
      const Case test = make_case(random, 3, k, Source::kPlain, size);
      const std::vector<std::byte> bytes = prepared(test, InputForm::kF16);
      const int64_t cols = input_cols(InputForm::kF16, k);
      for (int64_t row = 0; row < 3; ++row) {
        float scale;
        std::memcpy(&scale, bytes.data() + 3 * cols * 2 + row * 4, sizeof(scale));
        int exponent = 0;
        ASSERT_EQ(std::frexp(scale, &exponent), 0.5F);
        float largest = 0;
        for (int64_t i = 0; i < cols; ++i) {
          const float half = half_to_float(read<Half>(bytes, row * cols + i));
          largest = std::max(largest, std::fabs(half));
          const float x = i < k ? test.x[static_cast<std::size_t>(row * k + i)] : 0.0F;
          const double bound = std::max(std::fabs(double{x}) / 2048, double{scale} / (1 << 25));
          ASSERT_LE(std::fabs(double{half} * scale - x), bound) << "k=" << k << " column " << i;
        }
        ASSERT_GE(largest, 16384) << "k=" << k;
        ASSERT_LE(largest, 32768) << "k=" << k;
      }
    }
  }
}

TEST_F(PrepareInput, BFloat16IsRounded) {
  Random random(kSeed);
  for (const int64_t k : kCols) {
    const Case test = make_case(random, 2, k, Source::kPlain, 100);
    const std::vector<std::byte> bytes = prepared(test, InputForm::kBF16);
    const int64_t cols = input_cols(InputForm::kBF16, k);
    for (int64_t i = 0; i < 2 * cols; ++i) {
      const float x = i % cols < k ? test.x[static_cast<std::size_t>(i / cols * k + i % cols)] : 0;
      ASSERT_EQ(read<BFloat16>(bytes, i), float_to_bfloat16(x)) << "k=" << k << " at " << i;
    }
  }
}

TEST_F(PrepareInput, ZerosAndWhatIsNoNumber) {
  for (const float special :
       {0.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const int64_t k = 96, cols = input_cols(InputForm::kF16, k);
    Case test{2, k, Source::kPlain, std::vector<float>(2 * k, 0.0F), std::vector<float>(k, 1.0F)};
    test.x[50] = special;
    test.x[static_cast<std::size_t>(k) + 7] = 1;
    const std::vector<std::byte> bytes = prepared(test, InputForm::kF16);
    const float half = half_to_float(read<Half>(bytes, 50));
    if (special == 0) {
      EXPECT_EQ(half, 0.0F);
    } else {
      EXPECT_FALSE(std::isfinite(half));
    }
    EXPECT_EQ(half_to_float(read<Half>(bytes, cols + 7)), 16384.0F) << "the other row";
  }
}

}  // namespace
}  // namespace chatglm::kernels::cuda
