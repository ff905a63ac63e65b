// rope_table() and rope() of every ISA: the table against a calculation of its own, the rotation
// against the reference.
#include "kernels/reference/reference.h"
#include "kernels/test_support.h"

namespace chatglm::kernels {
namespace {

constexpr uint64_t kSeed = 12;

class Rope : public KernelTest {
 protected:
  std::vector<float> rope_table(const std::vector<int32_t>& positions, int64_t rotary_dim,
                                float theta_base, float position_scale) const {
    const auto rows = static_cast<int64_t>(positions.size());
    GuardedArray<float> cos_sin(rows * rotary_dim, 1);
    table().rope_table(
        {positions.data(), cos_sin.data(), rows, rotary_dim, theta_base, position_scale}, 0, rows);
    EXPECT_TRUE(cos_sin.guards_intact());
    return cos_sin.values();
  }
};

const std::vector<int32_t>& positions() {
  static const std::vector<int32_t> all = {0,    1,    2,    7,     100,   1983,
                                           2048, 8191, 8192, 32767, 65536, 131071};
  return all;
}

// Angles of pure mathematics. An f32 angle is off by a few roundings of its own size, and the one
// of the exponent counts times the logarithm of what it is an exponent of.
TEST_P(Rope, TableIsTheMathematics) {
  for (const int64_t rotary_dim : {2, 6, 16, 32, 64, 128}) {
    for (const float base : {1e4f, 5e5f, 5e6f, 1e8f}) {
      for (const float scale : {1.0f, 1.0f / 16, 1.0f / 3}) {
        const std::vector<float> actual = rope_table(positions(), rotary_dim, base, scale);
        std::vector<float> expected;
        std::vector<double> bound;
        for (const int32_t position : positions()) {
          for (int64_t i = 0; i < rotary_dim / 2; ++i) {
            const double power = 2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim);
            const double angle = position * double{scale} / std::pow(double{base}, power);
            expected.push_back(static_cast<float>(std::cos(angle)));
            expected.push_back(static_cast<float>(std::sin(angle)));
            bound.insert(bound.end(), 2, ((4 + power * std::log(base)) * angle + 3) * kUnit);
          }
        }
        ASSERT_TRUE(within(actual, expected, bound))
            << "rotary_dim=" << rotary_dim << " base=" << base << " scale=" << scale;
      }
    }
  }
}

// And rounded where the official code rounds: at large positions that is what a model has learned.
TEST_P(Rope, TableRoundsAsAgreed) {
  for (const int64_t rotary_dim : {2, 6, 32, 64}) {
    for (const float base : {1e4f, 5e5f, 5e6f}) {
      for (const float scale : {1.0f, 1.0f / 16, 1.0f / 3}) {
        std::vector<float> expected(positions().size() * static_cast<std::size_t>(rotary_dim));
        reference::rope_table({positions().data(), expected.data(),
                               static_cast<int64_t>(positions().size()), rotary_dim, base, scale});
        const std::vector<double> bound(expected.size(), 2 * kUnit);
        ASSERT_TRUE(within(rope_table(positions(), rotary_dim, base, scale), expected, bound))
            << "rotary_dim=" << rotary_dim << " base=" << base << " scale=" << scale;
      }
    }
  }
}

TEST_P(Rope, TableRowsDoNotDependOnTheirNeighbours) {
  const std::vector<float> all = rope_table(positions(), 64, 1e4f, 1);
  for (std::size_t row = 0; row < positions().size(); ++row) {
    const std::vector<float> expected(all.begin() + static_cast<std::ptrdiff_t>(row * 64),
                                      all.begin() + static_cast<std::ptrdiff_t>(row * 64 + 64));
    ASSERT_TRUE(same_bits(rope_table({positions()[row]}, 64, 1e4f, 1), expected, 64));
  }
}

struct RopeShape {
  int64_t heads, head_dim, rotary_dim;
};

TEST_P(Rope, RotationMatchesReference) {
  Random random(kSeed);
  const auto rows = static_cast<int64_t>(positions().size());
  for (const RopeShape shape : {RopeShape{1, 2, 2},
                                {3, 6, 2},
                                {2, 8, 6},
                                {2, 24, 20},
                                {4, 32, 16},
                                {3, 64, 32},
                                {2, 128, 64},
                                {32, 128, 128}}) {
    std::vector<float> cos_sin(static_cast<std::size_t>(rows * shape.rotary_dim));
    reference::rope_table({positions().data(), cos_sin.data(), rows, shape.rotary_dim, 1e4f, 1});
    const std::vector<float> row_scale = absolute(random.normals(rows));
    // Rows lie among others, as queries do in a fused projection.
    const int64_t used = shape.heads * shape.head_dim, stride = used + 5;
    for (const bool scaled : {false, true}) {
      const std::vector<float> x = random.normals(rows * stride, scaled ? 1e5f : 1.0f);
      std::vector<float> expected = x;
      RopeArgs args{expected.data(),
                    cos_sin.data(),
                    scaled ? row_scale.data() : nullptr,
                    rows,
                    stride,
                    shape.heads,
                    shape.head_dim,
                    shape.rotary_dim};
      reference::rope(args);

      GuardedArray<float> actual(x, 1);
      args.x = actual.data();
      table().rope(args, 0, 5);
      table().rope(args, 5, rows);
      ASSERT_TRUE(actual.guards_intact());

      std::vector<double> bound;
      for (int64_t i = 0; i < rows * stride; ++i) {
        const int64_t row = i / stride, column = i % stride, in_head = column % shape.head_dim;
        const double scale = scaled ? double{row_scale[static_cast<std::size_t>(row)]} : 1.0;
        double magnitude = 0;  // of what is not touched, and of what passes unscaled
        if (column < used && in_head < shape.rotary_dim) {
          const auto pair = static_cast<std::size_t>(i - in_head % 2);
          magnitude = std::fabs(double{x[pair]}) + std::fabs(double{x[pair + 1]});
        } else if (column < used && scaled) {
          magnitude = std::fabs(double{x[static_cast<std::size_t>(i)]});
        }
        bound.push_back(4 * kUnit * magnitude * scale);
      }
      ASSERT_TRUE(within(actual, expected, bound))
          << "heads=" << shape.heads << " head_dim=" << shape.head_dim
          << " rotary_dim=" << shape.rotary_dim << " scaled=" << scaled;
    }
  }
}

CHATGLM_FOR_EVERY_TABLE(Rope);

}  // namespace
}  // namespace chatglm::kernels
