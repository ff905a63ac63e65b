// One product y = x W^T (+ bias) (+ y) for the tests: its data, the kernel's answer and the
// oracle's.
#pragma once

#include "kernels/reference/reference.h"
#include "kernels/test_support.h"

namespace chatglm::kernels {

// Half of the distance from 1 to the next bf16: the relative error of rounding to it.
inline constexpr double kBf16Unit = 1.0 / (1 << 8);

// To nearest, ties to even.
inline float rounded_to_bf16(float value) {
  if (!std::isfinite(value)) return value;
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000U);
}

// The int8 kernels quantize the inputs of quantized products in blocks of this many, each by a step
// of its largest magnitude / 127.
inline constexpr int64_t kInputBlock = 32;

struct LinearCase {
  DType dtype;
  int64_t m, n, k;
  std::vector<std::byte> weights;  // (n, k) as stored
  std::vector<float> x;            // (m, k)
  std::vector<float> bias;         // (n) or empty
  std::vector<float> y;            // (m, n) before; accumulated to unless empty

  std::vector<float> initial() const {
    const auto size = static_cast<std::size_t>(m * n);
    return y.empty() ? std::vector<float>(size, std::numeric_limits<float>::quiet_NaN()) : y;
  }

  std::vector<float> expected() const {
    std::vector<float> result = initial();
    reference::linear({weights.data(), dtype, x.data(), bias.empty() ? nullptr : bias.data(),
                       result.data(), n, m, n, k, !y.empty()});
    return result;
  }

  // The sum of |w| |x| + |bias| + |y| behind each output: what rounding errors are relative to. A
  // weight with a minimum is a sum of two terms, whose magnitudes count.
  std::vector<float> magnitudes() const { return magnitudes(absolute(x)); }
  std::vector<float> magnitudes(const std::vector<float>& x_magnitudes) const {
    const std::vector<std::byte> terms = test::with_added_terms(dtype, weights);
    const std::vector<float> w = absolute(decoded(dtype, terms, n * k)), b = absolute(bias);
    std::vector<float> result = absolute(initial());
    reference::linear({reinterpret_cast<const std::byte*>(w.data()), DType::kF32,
                       x_magnitudes.data(), b.empty() ? nullptr : b.data(), result.data(), n, m, n,
                       k, !y.empty()});
    return result;
  }

  // Half of the step by which each input is quantized. (m, k)
  std::vector<float> half_steps() const {
    std::vector<float> steps(x.size());
    for (std::size_t block = 0; block < x.size(); block += kInputBlock) {
      float largest = 0;
      for (std::size_t i = block; i < block + kInputBlock; ++i) {
        largest = std::max(largest, std::fabs(x[i]));
      }
      std::fill_n(steps.begin() + static_cast<std::ptrdiff_t>(block), kInputBlock,
                  largest / 127 / 2);
    }
    return steps;
  }

  // The same with weights and inputs rounded to bf16, as f32.
  LinearCase in_bf16() const {
    LinearCase test = *this;
    std::vector<float> w = decoded(dtype, weights, n * k);
    for (float& value : w) value = rounded_to_bf16(value);
    for (float& value : test.x) value = rounded_to_bf16(value);
    test.dtype = DType::kF32;
    test.weights = encoded(DType::kF32, w);
    return test;
  }

  // Any order of k additions of products, each rounded: |error| <= k u (sum of magnitudes), with a
  // few more roundings for scales, bias and the result (Higham, Accuracy and Stability, 3.1).
  std::vector<double> rounding_bound() const {
    std::vector<double> bound;
    for (const float magnitude : magnitudes()) {
      bound.push_back(static_cast<double>(k + 8) * kUnit * magnitude);
    }
    return bound;
  }
  // In addition half a step of every input, times the weight it meets. The half per mille is room
  // for computing the step itself.
  std::vector<double> quantized_input_bound() const {
    LinearCase steps{dtype, m, n, k, weights, {}, {}, std::vector<float>(initial().size(), 0.0f)};
    const std::vector<float> step_errors = steps.magnitudes(half_steps());
    std::vector<double> bound = rounding_bound();
    for (std::size_t i = 0; i < bound.size(); ++i) bound[i] += 1.0005 * step_errors[i];
    return bound;
  }
  // Weights and inputs each off by half a unit of bf16.
  std::vector<double> bf16_bound() const {
    LinearCase values = *this;
    values.dtype = DType::kF32;
    values.weights = encoded(DType::kF32, decoded(dtype, weights, n * k));
    values.bias.clear();
    values.y.assign(initial().size(), 0.0F);
    const std::vector<float> products = values.magnitudes();
    std::vector<double> bound = rounding_bound();
    for (std::size_t i = 0; i < bound.size(); ++i) {
      bound[i] += (2 * kBf16Unit + kBf16Unit * kBf16Unit) * products[i];
    }
    return bound;
  }
  // Between the product of rounded values and one whose weights were rounded from values with an
  // error of their own: one weight of a few thousand may round to the other side.
  std::vector<double> bf16_rounding_bound() const {
    std::vector<double> bound = in_bf16().rounding_bound();
    float largest = 0, largest_input = 0;
    for (const float w : decoded(dtype, weights, n * k)) largest = std::max(largest, std::fabs(w));
    for (const float input : x) largest_input = std::max(largest_input, std::fabs(input));
    const bool once_rounded = !dtype_info(dtype).is_quantized() || dtype == DType::kQ8_0 ||
                              dtype == DType::kQ4_0 || dtype == DType::kQ5_0;
    for (double& error : bound) {
      if (!once_rounded) error += 2.01 * kBf16Unit * double{largest} * double{largest_input};
    }
    return bound;
  }
};

// Integers of at most `limit`; some blocks are zero, and `limit` itself stands in all others, so
// that the scale a quantizer finds is a whole power of two.
inline std::vector<float> integer_blocks(Random& random, int64_t count, int small, float limit) {
  std::vector<float> values(static_cast<std::size_t>(count), 0.0f);
  for (int64_t block = 0; block < count; block += kInputBlock) {
    if (random.integer(0, 9) == 0) continue;
    const int64_t size = std::min(kInputBlock, count - block);
    const float scale = std::ldexp(1.0f, random.integer(0, 1));
    float* part = values.data() + block;
    for (int64_t i = 0; i < size; ++i) {
      part[i] = scale * static_cast<float>(random.integer(-small, small));
    }
    part[random.integer(0, static_cast<int>(size) - 1)] = scale * limit;
  }
  return values;
}

// Weights and inputs such that products and sums are integers that every order of summation gets
// exactly, through the types' integers and the inputs' int8 too.
inline LinearCase exact_case(Random& random, DType dtype, int64_t m, int64_t n, int64_t k) {
  LinearCase test{dtype, m, n, k, {}, {}, {}, {}};
  const test::BlockHalves halves = test::block_halves(dtype);
  if (dtype_info(dtype).is_quantized()) {
    // Zero, one or two; but no more than one where the integers themselves are large.
    const int largest = halves.largest > 200 ? 1 : 2;
    test.weights = test::random_blocks(
        dtype, n * k, [&] { return random.bits(); },
        [&](const auto&) { return static_cast<float>(random.integer(0, largest)); },
        [&](const auto&) { return static_cast<float>(random.integer(-2, 2)); });
  } else {
    test.weights = encoded(dtype, integer_blocks(random, n * k, 7, -8.0f));
  }
  test.x = integer_blocks(random, m * k, halves.largest > 200 ? 1 : 127, 127.0f);
  return test;
}

// The stored weights with one bit changed, so that of all of them only the one at `index` differs;
// of all such bits the one that moves it farthest. Empty where there is none: its scale is zero.
inline std::vector<std::byte> with_wrong_bit(DType dtype, const std::vector<std::byte>& weights,
                                             int64_t index) {
  const DTypeInfo& type = dtype_info(dtype);
  const int64_t block = index / type.block_elements, within = index % type.block_elements;
  const auto first = static_cast<std::size_t>(block * type.block_bytes);
  std::vector<std::byte> bytes(
      weights.begin() + static_cast<std::ptrdiff_t>(first),
      weights.begin() + static_cast<std::ptrdiff_t>(first) + type.block_bytes);
  const std::vector<float> right = decoded(dtype, bytes, type.block_elements);
  std::size_t best = 0;
  double farthest = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= std::byte{1} << bit % 8;
    const std::vector<float> wrong = decoded(dtype, bytes, type.block_elements);
    bytes[bit / 8] ^= std::byte{1} << bit % 8;
    int64_t moved = 0;
    for (std::size_t i = 0; i < wrong.size(); ++i) moved += wrong[i] != right[i];
    const auto at = static_cast<std::size_t>(within);
    const double distance = std::fabs(double{wrong[at]} - double{right[at]});
    if (moved == 1 && distance > farthest && distance < 10) {
      farthest = distance;
      best = bit;
    }
  }
  if (farthest == 0) return {};
  std::vector<std::byte> changed = weights;
  changed[first + best / 8] ^= std::byte{1} << best % 8;
  return changed;
}

// The case as a kernel computes it, from packing on; everything it writes lies between guards.
class PackedCase {
 public:
  PackedCase(const LinearKernel& kernel, const LinearCase& test)
      : kernel_(kernel),
        test_(test),
        num_panels_((test.n + kernel.panel_rows - 1) / kernel.panel_rows),
        packed_(num_panels_ * kernel.panel_bytes(test.k)),
        x_(test.x, 1),  // f32 rows start anywhere
        prepared_(test.m * kernel.input_row_bytes(test.k, test.m)),
        scratch_(kernel.scratch_bytes(test.k, test.m)),
        bias_(test.bias, 1) {
    EXPECT_EQ(test.k % dtype_info(test.dtype).block_elements, 0) << "a case of broken blocks";
    // From the back and one by one: no call may rely on another.
    const GuardedArray<std::byte> stored(test.weights);
    for (int64_t panel = num_panels_; panel-- > 0;) {
      kernel.pack(stored.data(), test.n, test.k, packed_.data(), panel, panel + 1);
    }
    if (prepared_.size() > 0) {
      for (int64_t row = test.m; row-- > 0;) {
        const PrepareArgs args{
            .x = x_.data(), .prepared = prepared_.data(), .m = test.m, .k = test.k};
        kernel.prepare_input(args, row, row + 1);
      }
    }
    EXPECT_TRUE(packed_.guards_intact()) << "pack wrote outside of its panels";
    EXPECT_TRUE(prepared_.guards_intact()) << "prepare_input wrote outside of its rows";
  }

  int64_t num_panels() const { return num_panels_; }

  std::vector<float> product() { return product({0, num_panels_}); }
  // Computed in the ranges between consecutive `cuts`, into rows with `gap` elements after each.
  std::vector<float> product(const std::vector<int64_t>& cuts, int64_t gap = 0) {
    constexpr float kUntouched = 12345.5f;
    const std::vector<float> initial = test_.initial();
    std::vector<float> spread;
    for (int64_t row = 0; row < test_.m; ++row) {
      spread.insert(spread.end(), initial.begin() + row * test_.n,
                    initial.begin() + (row + 1) * test_.n);
      spread.insert(spread.end(), static_cast<std::size_t>(gap), kUntouched);
    }
    GuardedArray<float> y(spread, 1);
    const LinearArgs args{.packed = packed_.data(),
                          .x = prepared_.size() > 0 ? static_cast<const void*>(prepared_.data())
                                                    : static_cast<const void*>(x_.data()),
                          .bias = test_.bias.empty() ? nullptr : bias_.data(),
                          .y = y.data(),
                          .y_stride = test_.n + gap,
                          .m = test_.m,
                          .n = test_.n,
                          .k = test_.k,
                          .accumulate = !test_.y.empty(),
                          .scratch = scratch_.data()};
    for (std::size_t i = 1; i < cuts.size(); ++i) kernel_.product(args, cuts[i - 1], cuts[i]);
    EXPECT_TRUE(y.guards_intact()) << "product wrote outside of y";
    EXPECT_TRUE(scratch_.guards_intact()) << "product wrote outside of its scratch";
    std::vector<float> result;
    for (int64_t row = 0; row < test_.m; ++row) {
      const float* begin = y.data() + row * (test_.n + gap);
      result.insert(result.end(), begin, begin + test_.n);
      EXPECT_EQ(std::count(begin + test_.n, begin + test_.n + gap, kUntouched), gap)
          << "product wrote between the rows of y";
    }
    return result;
  }

 private:
  const LinearKernel& kernel_;
  const LinearCase& test_;
  int64_t num_panels_;
  GuardedArray<std::byte> packed_;
  GuardedArray<float> x_;
  GuardedArray<std::byte> prepared_;
  GuardedArray<std::byte> scratch_;
  GuardedArray<float> bias_;
};

}  // namespace chatglm::kernels
