// Products of many rows on the device against the reference.
#include "kernels/cuda/gemm.h"

#include "base/ceil_div.h"
#include "base/float16.h"
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/prepare_input.h"
#include "kernels/linear_case.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 17;
constexpr double kHalfUnit = 1.0 / (1 << 11);  // of rounding to f16
constexpr double kHalfTiny = 1.0 / (1 << 25);  // half of the distance of its smallest numbers

float rounded_to_half(double value) {
  return half_to_float(float_to_half(static_cast<float>(value)));
}

template <typename T>
T read(const std::byte* values, int64_t index) {
  T value;
  std::memcpy(&value, values + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// A matrix as it lies on the device.
struct PackedMatrix {
  PackedMatrix(DType dtype, int64_t n, int64_t k, const std::vector<std::byte>& stored)
      : layout(weight_layout(dtype, n, k)), bytes(static_cast<std::size_t>(layout.size_bytes)) {
    pack_rows(stored.data(), n, layout, 0, bytes.data());
  }

  // What the kernel makes of each weight before it multiplies, and how far that may be from the
  // weight itself.
  struct Opened {
    std::vector<float> values;   // (n, k)
    std::vector<double> errors;  // (n, k)
  };
  Opened opened(const std::vector<float>& exact) const {
    Opened result{exact, std::vector<double>(exact.size(), 0.0)};
    if (!layout.form.is_quantized()) return result;
    const DeviceWeight weight = device_weight(layout, bytes.data());
    const WeightForm& form = layout.form;
    for (int64_t i = 0; i < layout.n * layout.k; ++i) {
      const int64_t row = i / layout.k, col = i % layout.k, part = col / form.part;
      const int code = code_at(weight, row, col);
      const std::byte* scales = weight.scales + row * weight.scales_row_bytes;
      const std::byte* minimums = weight.minimums + row * weight.minimums_row_bytes;
      const int centre = form.codes == Codes::kNibbles ? 8 : 0;
      const float scale =
          form.half_scales ? half_to_float(read<Half>(scales, part)) : read<float>(scales, part);
      const float minimum = form.minimums ? read<float>(minimums, part) : 0.0f;
      const double centred = form.minimums ? double{scale} * centre + minimum : 0.0;
      const double difference = code - centre;
      const auto at = static_cast<std::size_t>(i);
      result.values[at] = rounded_to_half(difference * double{rounded_to_half(scale)} +
                                          double{rounded_to_half(static_cast<float>(centred))});
      double& error = result.errors[at];
      error = kHalfUnit * std::fabs(exact[at]) + kHalfTiny;
      if (!form.half_scales) {
        error += std::fabs(difference) * (kHalfUnit * std::fabs(scale) + kHalfTiny);
      }
      if (form.minimums) error += kHalfUnit * std::fabs(centred) + kHalfTiny;
      // Those of the errors themselves, of f32's sums and products.
      error *= 1 + 4 * kHalfUnit;
    }
    return result;
  }

  WeightLayout layout;
  std::vector<std::byte> bytes;

 private:
  static int code_at(const DeviceWeight& weight, int64_t row, int64_t col) {
    const std::byte* codes = weight.codes + row * weight.codes_row_bytes;
    if (weight.form.codes == Codes::kBytes) return static_cast<int8_t>(codes[col]);
    const auto byte = static_cast<int>(codes[col / 32 * 16 + col % 16]);
    return col % 32 < 16 ? byte & 15 : byte >> 4;
  }
};

// Inputs as prepare_input.h describes them, made by the plainest means.
struct PreparedRows {
  std::vector<std::byte> bytes;
  std::vector<float> values;   // (m, k) that they stand for
  std::vector<double> errors;  // (m, k)

  PreparedRows(InputForm form, const std::vector<float>& x, int64_t m, int64_t k)
      : bytes(static_cast<std::size_t>(prepared_bytes(m, k)), std::byte{0}),
        values(x),
        errors(x.size(), 0.0) {
    const int64_t cols = input_cols(form, k);
    for (int64_t row = 0; row < m; ++row) {
      const auto begin = x.begin() + row * k;
      float largest = 0;
      for (auto it = begin; it != begin + k; ++it) largest = std::max(largest, std::fabs(*it));
      const float scale = largest > 0 ? std::ldexp(1.0f, std::ilogb(largest) - 14) : 1.0f;
      if (form == InputForm::kF16) put<float>(m * cols / 2 + row, scale);
      for (int64_t i = 0; i < k; ++i) {
        const auto at = static_cast<std::size_t>(row * k + i);
        if (form == InputForm::kF32) {
          put<float>(row * cols + i, x[at]);
        } else if (form == InputForm::kBF16) {
          put<BFloat16>(row * cols + i, float_to_bfloat16(x[at]));
          values[at] = rounded_to_bf16(x[at]);
          errors[at] = kBf16Unit * std::fabs(x[at]);
        } else {
          put<Half>(row * cols + i, float_to_half(x[at] / scale));
          values[at] = scale * rounded_to_half(x[at] / scale);
          errors[at] = kHalfUnit * std::fabs(x[at]) + kHalfTiny * scale;
        }
      }
    }
  }

 private:
  template <typename T>
  void put(int64_t index, T value) {
    std::memcpy(bytes.data() + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
  }
};

InputForm input_form(const WeightForm& form) {
  switch (form.codes) {
    case Codes::kF32:
      return InputForm::kF32;
    case Codes::kBF16:
      return InputForm::kBF16;
    default:
      return InputForm::kF16;
  }
}

// Device memory that starts where kernels may expect it to.
class Aligned {
 public:
  explicit Aligned(const std::vector<std::byte>& values) {
    EXPECT_EQ(cudaMalloc(&memory_, values.size()), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(memory_, values.data(), values.size(), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~Aligned() { cudaFree(memory_); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  std::byte* data() const { return memory_; }
  std::vector<std::byte> values(int64_t count) const {
    std::vector<std::byte> result(static_cast<std::size_t>(count));
    EXPECT_EQ(cudaMemcpy(result.data(), memory_, result.size(), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return result;
  }

 private:
  std::byte* memory_ = nullptr;
};

class ManyRows : public CudaKernelTest {
 protected:
  bool by_warpgroups_ = false;

  std::vector<float> product(const LinearCase& test, int64_t gap = 0) {
    return product(test, gemm_plan(test.m, test.n, test.k), gap);
  }
  std::vector<float> product(const LinearCase& test, const GemmPlan& plan, int64_t gap = 0) {
    const PackedMatrix packed(test.dtype, test.n, test.k, test.weights);
    const Aligned weights(packed.bytes);
    const InputForm form = input_form(packed.layout.form);
    const Aligned x(PreparedRows(form, test.x, test.m, test.k).bytes);
    const Aligned scratch(scratch_);
    const DeviceArray<float> bias(test.bias, 1);
    constexpr float kUntouched = 12345.5f;
    const int64_t stride = test.n + gap;
    std::vector<float> before(static_cast<std::size_t>(test.m * stride), kUntouched);
    for (int64_t i = 0; i < test.m * test.n; ++i) {
      before[static_cast<std::size_t>(i / test.n * stride + i % test.n)] =
          test.initial()[static_cast<std::size_t>(i)];
    }
    const DeviceArray<float> y(before, gap % 2);
    gemm({.weight = device_weight(packed.layout, weights.data()),
          .x = x.data(),
          .m = test.m,
          .bias = test.bias.empty() ? nullptr : bias.data(),
          .y = y.data(),
          .y_stride = stride,
          .accumulate = !test.y.empty()},
         plan, by_warpgroups_, scratch.data(), nullptr);
    const std::vector<float> after = y.values();
    std::vector<float> result;
    for (int64_t row = 0; row < test.m; ++row) {
      const auto begin = after.begin() + row * stride;
      result.insert(result.end(), begin, begin + test.n);
      EXPECT_EQ(std::count(begin + test.n, begin + stride, kUntouched), gap)
          << "wrote between the rows of y";
    }
    const std::vector<std::byte> counters = scratch.values(kCounterBytes);
    EXPECT_EQ(std::count(counters.begin(), counters.end(), std::byte{0}), kCounterBytes)
        << "left a counter that is not zero";
    return result;
  }

  static constexpr int64_t kCounterBytes = kGemmCounters * static_cast<int64_t>(sizeof(unsigned));

 private:
  const std::vector<std::byte> scratch_ =
      std::vector<std::byte>(static_cast<std::size_t>(kGemmScratchBytes));
};

std::string describe(const LinearCase& test) {
  return std::string(dtype_info(test.dtype).name) + " m=" + std::to_string(test.m) +
         " n=" + std::to_string(test.n) + " k=" + std::to_string(test.k);
}

int64_t whole_blocks(DType dtype, int64_t k) {
  const int64_t block = dtype_info(dtype).block_elements;
  return ceil_div(k, block) * block;
}

// The test's weights and inputs as the kernel multiplies them.
LinearCase as_computed(const LinearCase& test) {
  LinearCase computed = test;
  const PackedMatrix packed(test.dtype, test.n, test.k, test.weights);
  const std::vector<float> exact = decoded(test.dtype, test.weights, test.n * test.k);
  computed.dtype = DType::kF32;
  computed.weights = encoded(DType::kF32, packed.opened(exact).values);
  computed.x = PreparedRows(input_form(packed.layout.form), test.x, test.m, test.k).values;
  return computed;
}

// What roundings of inputs and weights can make of a product, on top of f32's own. The tensor cores
// add up 16 products and a sum at a time after cutting them off below the largest: by 17 units of
// 2^-23 of it at most (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores).
std::vector<double> bound(const LinearCase& test) {
  const PackedMatrix packed(test.dtype, test.n, test.k, test.weights);
  const std::vector<float> w = decoded(test.dtype, test.weights, test.n * test.k);
  const std::vector<double> dw = packed.opened(w).errors;
  const PreparedRows x(input_form(packed.layout.form), test.x, test.m, test.k);
  const auto k = static_cast<std::size_t>(test.k), n = static_cast<std::size_t>(test.n);
  std::vector<double> result;
  const double additions = static_cast<double>(ceil_div(test.k, 16) * 17 * 2 + 8);
  for (std::size_t i = 0; i < static_cast<std::size_t>(test.m) * n; ++i) {
    const std::size_t row = i / n * k, col = i % n * k;
    double error = 0, magnitude = 0;
    for (std::size_t j = 0; j < k; ++j) {
      const double a = std::fabs(test.x[row + j]), b = std::fabs(w[col + j]);
      const double da = x.errors[row + j], db = dw[col + j];
      error += a * db + b * da + da * db;
      magnitude += (a + da) * (b + db);
    }
    if (!test.bias.empty()) magnitude += std::fabs(test.bias[i % n]);
    if (!test.y.empty()) magnitude += std::fabs(test.y[i]);
    result.push_back(error + additions * kUnit * magnitude);
  }
  return result;
}

// On compute capability 8.0 or 9.0: by warps on their own or by warpgroups.
struct Way {
  DType dtype;
  int compute_capability;
};

std::vector<Way> all_ways() {
  std::vector<Way> result;
  for (const DTypeInfo& info : all_dtypes()) {
    result.push_back({info.dtype, 80});
    if (info.dtype != DType::kF32) result.push_back({info.dtype, 90});
  }
  return result;
}

// One type of each form that weights take on the device.
std::vector<Way> different_ways() {
  std::vector<WeightForm> forms;
  std::vector<Way> result;
  for (const Way& way : all_ways()) {
    const WeightForm form = weight_form(way.dtype);
    if (way.compute_capability == 80) {
      if (std::find(forms.begin(), forms.end(), form) != forms.end()) continue;
      forms.push_back(form);
    } else if (result.back().dtype != way.dtype) {
      continue;
    }
    result.push_back(way);
  }
  return result;
}

std::string name_of(const ::testing::TestParamInfo<Way>& way) {
  return std::string(dtype_info(way.param.dtype).name) + "_sm" +
         std::to_string(way.param.compute_capability);
}

class ManyRowsOf : public ManyRows, public ::testing::WithParamInterface<Way> {
 protected:
  ManyRowsOf() { by_warpgroups_ = GetParam().compute_capability == 90; }
  void SetUp() override {
    CudaKernelTest::SetUp();
    cudaDeviceProp properties{};
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    if (by_warpgroups_ && (properties.major != 9 || properties.minor != 0)) {
      GTEST_SKIP() << "this GPU has no warpgroup instructions";
    }
  }
  static DType dtype() { return GetParam().dtype; }

  LinearCase random_case(Random& random, int64_t m, int64_t n, int64_t k, float x_scale = 1) const {
    LinearCase test{dtype(), m, n, whole_blocks(dtype(), k), {}, {}, {}, {}};
    test.weights = random_weights(random, test.dtype, n * test.k, 0.05f);
    test.x = random.normals(m * test.k, x_scale);
    return test;
  }
};

class ManyRowsOfAny : public ManyRowsOf {};

TEST_P(ManyRowsOfAny, IsExactOnIntegers) {
  Random random(kSeed);
  struct Shape {
    int64_t m, n, k;
  };
  for (const Shape shape : {Shape{17, 130, 32}, {65, 33, 96}, {40, 1, 160}, {64, 65, 256}}) {
    LinearCase test = exact_case(random, dtype(), shape.m, shape.n, whole_blocks(dtype(), shape.k));
    if (shape.k != 96) test.bias = integer_blocks(random, test.n, 100, 100);
    if (shape.k != 160) test.y = integer_blocks(random, test.m * test.n, 100, 100);
    const LinearCase computed = as_computed(test);
    const std::vector<float> magnitudes = computed.magnitudes();
    ASSERT_LT(*std::max_element(magnitudes.begin(), magnitudes.end()), 1 << 24)
        << "the case itself is not exact: " << describe(test);
    const std::vector<double> exact(magnitudes.size(), 0.0);
    ASSERT_TRUE(within(product(test, shape.n % 3), computed.expected(), exact)) << describe(test);
  }
}

TEST_P(ManyRowsOf, RoundsInputsAndWeightsOnce) {
  Random random(kSeed);
  for (const float scale : {1e-5f, 1e6f}) {
    LinearCase test = random_case(random, 40, 70, 300, scale);
    test.x[static_cast<std::size_t>(test.k) / 2] = 1e6f;
    test.bias = random.normals(test.n);
    const std::vector<double> allowed = bound(test);
    const std::vector<float> expected = test.expected();
    ASSERT_TRUE(within(product(test), expected, allowed)) << describe(test) << " scale=" << scale;
  }
}

TEST_P(ManyRowsOf, BoundNoticesOneWrongWeight) {
  Random random(kSeed);
  LinearCase test = random_case(random, 17, 33, 64);
  // One block of inputs, so that one weight matters beside the others' roundings.
  for (std::size_t i = 0; i < test.x.size(); ++i) {
    if (i % static_cast<std::size_t>(test.k) >= 32) test.x[i] = 0;
  }
  const std::vector<double> allowed = bound(test);
  const std::vector<float> expected = test.expected();
  LinearCase wrong = test;
  wrong.weights = with_wrong_bit(test.dtype, test.weights, 32 * test.k + 7);
  ASSERT_FALSE(wrong.weights.empty());
  EXPECT_FALSE(within(product(wrong), expected, allowed));
}

TEST_P(ManyRowsOf, RowsDoNotDependOnTheirNumber) {
  Random random(kSeed);
  LinearCase all = random_case(random, 130, 40, 96);
  all.bias = random.normals(all.n);
  const std::vector<float> expected = product(all);
  for (const int64_t m : {17, 40}) {
    LinearCase part = all;
    part.m = m;
    part.x.assign(all.x.end() - static_cast<std::ptrdiff_t>(m * all.k), all.x.end());
    const std::vector<float> rows(expected.end() - static_cast<std::ptrdiff_t>(m * all.n),
                                  expected.end());
    ASSERT_TRUE(same_bits(product(part), rows, m * all.n)) << describe(part);
  }
}

// From plain inputs on: what linear() does with more rows than gemv() takes.
TEST_P(ManyRowsOf, AreWhatLinearTakesThemFor) {
  Random random(kSeed);
  LinearCase test = random_case(random, kGemvRows + 4, 50, 100, 1e3f);
  test.y = random.normals(test.m * test.n);
  const PackedMatrix packed(test.dtype, test.n, test.k, test.weights);
  const Aligned weights(packed.bytes);
  const Aligned prepared(
      std::vector<std::byte>(static_cast<std::size_t>(prepared_bytes(test.m, test.k))));
  const DeviceArray<float> x(test.x, 1), y(test.y);
  linear({.weight = device_weight(packed.layout, weights.data()),
          .input = {.x = x.data(), .prepared = prepared.data(), .m = test.m, .k = test.k},
          .bias = nullptr,
          .y = y.data(),
          .y_stride = test.n,
          .accumulate = true},
         {.compute_capability = GetParam().compute_capability,
          .multiprocessors = 4,
          .warpgroups = by_warpgroups_},
         nullptr);
  ASSERT_TRUE(within(y.values(), test.expected(), bound(test))) << describe(test);
}

// By one block after the other or by several at once; sums of segments are added in one order.
TEST_P(ManyRowsOf, SegmentsMayBeComputedInParallel) {
  Random random(kSeed);
  for (const int64_t m : {20, 70}) {
    LinearCase test = random_case(random, m, 130, 5 * kGemmDepth);
    test.bias = random.normals(test.n);
    test.y = random.normals(m * test.n);
    GemmPlan plan = gemm_plan(m, test.n, test.k, 3);
    ASSERT_EQ(plan.segments, 3);
    ASSERT_TRUE(plan.parallel);
    const std::vector<float> parallel = product(test, plan, 2);
    ASSERT_TRUE(within(parallel, test.expected(), bound(test))) << describe(test);
    plan.parallel = false;
    ASSERT_TRUE(same_bits(product(test, plan, 1), parallel, m * test.n)) << describe(test);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, ManyRowsOfAny, ::testing::ValuesIn(all_ways()), name_of);
INSTANTIATE_TEST_SUITE_P(Ways, ManyRowsOf, ::testing::ValuesIn(different_ways()), name_of);

// The rows' NaN and infinities stay theirs, whatever is multiplied with them.
TEST_F(ManyRows, NanStaysInItsRow) {
  Random random(kSeed);
  LinearCase test{DType::kF16, 18, 9, 40, {}, {}, {}, {}};
  test.weights = random_weights(random, test.dtype, test.n * test.k, 1);
  test.x = random.normals(test.m * test.k);
  test.x[40] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = product(test);
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), i / 9 == 1) << i;
}

TEST(GemmPlan, DependsOnTheMatrixOnly) {
  for (const int64_t n : {1, 128, 4096, 4608, 9216, 9217, 27392, 65024}) {
    for (const int64_t k : {32, 2048, 4096, 13696}) {
      const GemmPlan first = gemm_plan(17, n, k);
      for (const int64_t m : {64, 65, 2048, 100000}) {
        const GemmPlan plan = gemm_plan(m, n, k);
        EXPECT_EQ(plan.segments, first.segments);
        EXPECT_EQ(plan.segment_steps, first.segment_steps);
        EXPECT_GE(plan.row_tiles * plan.tile_rows, m);
        EXPECT_LT((plan.row_tiles - 1) * plan.tile_rows, m);
        EXPECT_GE(plan.segments * plan.segment_steps, plan.steps);
        EXPECT_LT((plan.segments - 1) * plan.segment_steps, plan.steps);
        if (!plan.parallel) continue;
        const int64_t tiles = plan.row_tiles * plan.col_tiles;
        EXPECT_LE(tiles, kGemmCounters);
        EXPECT_LE(tiles * plan.segments * plan.tile_rows * kGemmTileCols * 4, kGemmPartialBytes);
      }
    }
  }
  EXPECT_EQ(gemm_plan(64, 4608, 4096).segments, 2);   // 36 tiles
  EXPECT_EQ(gemm_plan(64, 4096, 13696).segments, 4);  // 32 tiles
  EXPECT_TRUE(gemm_plan(64, 4096, 13696).parallel);
  EXPECT_EQ(gemm_plan(64, 27392, 4096).segments, 1);  // 214 tiles
  EXPECT_FALSE(gemm_plan(2048, 4096, 13696).parallel);
}

}  // namespace
}  // namespace chatglm::kernels::cuda
