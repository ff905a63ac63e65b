// paged_attention() of every ISA against the reference, and against a plain f32 attention for how
// precise it must be.
#include "kernels/paged_case.h"

namespace chatglm::kernels {
namespace {

constexpr uint64_t kSeed = 16;

// A cache that is filled, with queries, and what was stored as dense arrays.
class AttentionCase {
 public:
  AttentionCase(const KvLayout& layout, int64_t group, const std::vector<int64_t>& lengths,
                int64_t rows_each, float query_scale, bool causal = true)
      : layout_(layout), heads_(group * layout.kv_heads), cache_(random_, layout, lengths) {
    for (const int64_t length : lengths) longest_ = std::max(longest_, length);
    cache_.choose_rows(longest_);
    const int64_t used = layout.kv_heads * layout.head_dim;
    const auto rows = cache_.rows();
    std::vector<float> keys = random_.normals(rows * used), values = random_.normals(rows * used);
    reference::kv_store(
        {keys.data(), values.data(), used, PagedCase::kLayer, cache_.view(), cache_.ragged()});
    keys_ = as_stored(keys);
    values_ = as_stored(values);
    first_.assign(1, 0);
    for (const int64_t length : lengths) first_.push_back(first_.back() + length);

    cache_.choose_rows(rows_each);
    if (!causal) cache_.see_whole_sequences();
    query_stride_ = heads_ * layout.head_dim + 5;
    query_ = random_.normals(cache_.rows() * query_stride_, query_scale);
  }

  int64_t rows() const { return cache_.rows(); }
  int64_t group() const { return heads_ / layout_.kv_heads; }
  int64_t head_dim() const { return layout_.head_dim; }
  int64_t output_size() const { return rows() * row_size(); }
  int64_t row_size() const { return heads_ * layout_.head_dim; }

  void poison_query(std::size_t element) {
    query_[element] = std::numeric_limits<float>::quiet_NaN();
  }

  // The values of the first sequence and the first KV head at `position` become NaN.
  void poison_value(int64_t position) {
    const PagedKvView view = cache_.view();
    const int32_t page = cache_.ragged().block_table[position / layout_.page_tokens];
    std::byte* const token = view.values(page, PagedCase::kLayer, 0) +
                             position % layout_.page_tokens * view.token_bytes();
    std::memset(token, 0xff, static_cast<std::size_t>(view.token_bytes()));
  }

  // Of rows [first_row, first_row + count).
  PagedAttentionArgs args(float* output, int64_t first_row, int64_t count) const {
    return {query_.data() + first_row * query_stride_,
            query_stride_,
            output,
            heads_,
            PagedCase::kLayer,
            scale(),
            cache_.view(),
            cache_.ragged(first_row, count)};
  }
  PagedAttentionArgs args(float* output) const { return args(output, 0, rows()); }

  std::vector<float> expected() const {
    std::vector<float> output(static_cast<std::size_t>(output_size()));
    reference::paged_attention(args(output.data()));
    return output;
  }

  // The same with every operation in f32, in the plainest order.
  std::vector<float> plain_f32() const {
    std::vector<float> output, weights;
    for (int64_t row = 0; row < rows(); ++row) {
      for (int64_t head = 0; head < heads_; ++head) {
        const float* q = query(row, head);
        weights.clear();
        float largest = -std::numeric_limits<float>::infinity(), total = 0;
        for (int64_t t = 0; t < cache_.visible(row); ++t) {
          float dot = 0;
          for (int64_t i = 0; i < layout_.head_dim; ++i)
            dot += q[i] * stored(keys_, row, head, t)[i];
          weights.push_back(dot * scale());
          largest = std::max(largest, weights.back());
        }
        for (float& weight : weights) total += weight = std::exp(weight - largest);
        for (int64_t i = 0; i < layout_.head_dim; ++i) {
          float sum = 0;
          for (int64_t t = 0; t < cache_.visible(row); ++t) {
            sum += weights[static_cast<std::size_t>(t)] * stored(values_, row, head, t)[i];
          }
          output.push_back(sum / total);
        }
      }
    }
    return output;
  }

  // Each score is off by at most `score`, so its weight by the factor exp(2 score) against the
  // total, with a few units for exp; the sums over positions add one unit an addition.
  // In bf16 there are further errors, of standard deviations below 0.6 * 2^-8 of a weighted value
  // (weight and value are rounded), and 2^-16 of an addend of a score (both factors are sums of two
  // bf16, and the least of their four products is left out).
  std::vector<double> bound(bool in_bf16 = false) const {
    std::vector<double> result;
    for (int64_t row = 0; row < rows(); ++row) {
      const int64_t length = cache_.visible(row);
      for (int64_t head = 0; head < heads_; ++head) {
        double magnitude = 0, deviation = 0, total = 0, weight_squares = 0;
        std::vector<double> largest(static_cast<std::size_t>(layout_.head_dim), 0.0);
        std::vector<double> squares = largest, exact = exact_weights(row, head);
        for (const double weight : exact) total += weight;
        for (int64_t t = 0; t < length; ++t) {
          const float *key = stored(keys_, row, head, t), *value = stored(values_, row, head, t);
          const double share = exact[static_cast<std::size_t>(t)] / total;
          weight_squares += share * share;
          double dot = 0, dot_squares = 0;
          for (int64_t i = 0; i < layout_.head_dim; ++i) {
            const double addend = double{query(row, head)[i]} * key[i];
            dot += std::fabs(addend);
            dot_squares += addend * addend;
            double& most = largest[static_cast<std::size_t>(i)];
            most = std::max(most, std::fabs(double{value[i]}));
            const double part = share * double{value[i]};
            squares[static_cast<std::size_t>(i)] += part * part;
          }
          magnitude = std::max(magnitude, dot * double{scale()});
          deviation = std::max(deviation, std::sqrt(dot_squares) * double{scale()} / 65536);
        }
        const double units = static_cast<double>((in_bf16 ? 3 : 1) * layout_.head_dim + 8);
        const double score = units * kUnit * magnitude;
        const double weight = std::expm1(2 * score) + static_cast<double>(length + 16) * kUnit;
        for (std::size_t i = 0; i < largest.size(); ++i) {
          const double rounded = 0.6 / 256 * std::sqrt(squares[i]) +
                                 2 * deviation * std::sqrt(weight_squares) * largest[i];
          result.push_back(2 * weight * largest[i] + (in_bf16 ? 6 * rounded : 0));
        }
      }
    }
    return result;
  }

  DType dtype() const { return layout_.dtype; }
  std::string name() const {
    return layout_name(layout_) + " heads=" + std::to_string(heads_) +
           " longest=" + std::to_string(longest_) + " seed=" + std::to_string(kSeed);
  }

 private:
  // Relative to the largest.
  std::vector<double> exact_weights(int64_t row, int64_t head) const {
    std::vector<double> weights;
    for (int64_t t = 0; t < cache_.visible(row); ++t) {
      double dot = 0;
      for (int64_t i = 0; i < layout_.head_dim; ++i)
        dot += double{query(row, head)[i]} * stored(keys_, row, head, t)[i];
      weights.push_back(dot * double{scale()});
    }
    const double largest = *std::max_element(weights.begin(), weights.end());
    for (double& weight : weights) weight = std::exp(weight - largest);
    return weights;
  }

  float scale() const { return 1 / std::sqrt(static_cast<float>(layout_.head_dim)); }
  const float* query(int64_t row, int64_t head) const {
    return query_.data() + row * query_stride_ + head * layout_.head_dim;
  }
  const float* stored(const std::vector<float>& dense, int64_t row, int64_t head, int64_t t) const {
    const int64_t token = first_[static_cast<std::size_t>(cache_.sequence(row))] + t;
    const int64_t kv_head = head / (heads_ / layout_.kv_heads);
    return dense.data() + (token * layout_.kv_heads + kv_head) * layout_.head_dim;
  }
  std::vector<float> as_stored(const std::vector<float>& values) const {
    return decoded(layout_.dtype, encoded(layout_.dtype, values),
                   static_cast<int64_t>(values.size()));
  }

  Random random_{kSeed};
  KvLayout layout_;
  int64_t heads_;
  PagedCase cache_;
  int64_t longest_ = 0;
  std::vector<float> keys_, values_;  // (tokens of all sequences, kv_heads, head_dim)
  std::vector<int64_t> first_;        // (sequences + 1) first token of each
  int64_t query_stride_ = 0;
  std::vector<float> query_;  // (rows, query_stride_)
};

double largest_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(double{actual[i]} - double{expected[i]}));
  }
  return largest;
}

// How a batch is cut: rows of a task and query heads of a task at most; partitions of a task, 0 for
// all of them.
struct Cut {
  int64_t rows = 1, heads = 1 << 20, partitions = 0;
};

class Attention : public KernelTest {
 protected:
  bool in_bf16(DType cache, int64_t rows) const {
    return rows > table().attention.rows_before_bf16 && cache != DType::kF32;
  }

  std::vector<float> run(const AttentionCase& test, const Cut& cut = {}) const {
    GuardedArray<float> output(test.output_size(), 1);
    attend(test.args(output.data()), cut);
    EXPECT_TRUE(output.guards_intact()) << "wrote outside of its rows";
    return output.values();
  }

  void attend(const PagedAttentionArgs& args, const Cut& cut = {}) const {
    attend(table().attention, args, cut);
  }

  // The tasks from the last to the first.
  static void attend(const AttentionKernel& kernel, const PagedAttentionArgs& args,
                     const Cut& cut = {}) {
    const RaggedRows& rows = args.rows;
    const int64_t group = args.heads / args.kv.kv_heads;
    const int64_t most_product_rows = kernel.most_product_rows(args);
    const int64_t heads = std::min({cut.heads, group, most_product_rows});
    const int64_t most = std::min(cut.rows, most_product_rows / heads);
    for (int64_t end = rows.rows, first = end; end > 0; end = first) {
      while (first > 0 && end - first < most && rows.sequence[first - 1] == rows.sequence[end - 1])
        --first;
      for (int64_t head = 0; head < args.heads;) {
        const int64_t count = std::min(heads, group - head % group);
        attend(kernel, args, {first, end - first, head, count, 0, 0, nullptr}, cut.partitions);
        head += count;
      }
    }
  }

  static void attend(const AttentionKernel& kernel, const PagedAttentionArgs& args,
                     AttentionTask task, int64_t partitions) {
    const int32_t* visible = args.rows.visible + task.first_row;
    const int64_t all =
        (*std::max_element(visible, visible + task.num_rows) + kAttentionPartition - 1) /
        kAttentionPartition;
    GuardedArray<std::byte> scratch(kernel.scratch_bytes(args.kv.head_dim));
    task.num_partitions = all;
    if (partitions == 0) {
      kernel.attend(args, task, scratch.data());
    } else {
      const int64_t bytes = kernel.partial_bytes(task.num_rows * task.num_heads, args.kv.head_dim);
      GuardedArray<std::byte> partials(all * bytes);
      for (int64_t first = (all - 1) / partitions * partitions; first >= 0; first -= partitions) {
        AttentionTask part = task;
        part.first_partition = first;
        part.num_partitions = std::min(partitions, all - first);
        part.partials = partials.data() + first * bytes;
        kernel.attend(args, part, scratch.data());
      }
      task.partials = partials.data();
      kernel.merge(args, task, scratch.data());
      EXPECT_TRUE(partials.guards_intact()) << "wrote outside of its partials";
    }
    EXPECT_TRUE(scratch.guards_intact()) << "wrote outside of its scratch";
  }

  void compare(const AttentionCase& test) const {
    const bool bf16 = in_bf16(test.dtype(), test.rows());
    const std::vector<float> actual = run(test), expected = test.expected();
    EXPECT_TRUE(within(actual, expected, test.bound(bf16))) << test.name();
    if (bf16) return;
    // The floor: values below 6, each off by a unit or two.
    EXPECT_LE(largest_error(actual, expected),
              2 * largest_error(test.plain_f32(), expected) + 12 * kUnit)
        << "less precise than twice the plain f32 version: " << test.name();
  }
};

const std::vector<int64_t>& lengths() {
  static const std::vector<int64_t> all = {1,   2,   15,  16,   17,   33,   100, 511,
                                           512, 513, 640, 1023, 1024, 1025, 1100};
  return all;
}

TEST_P(Attention, MatchesReference) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    compare(AttentionCase({dtype, 2, 32, 16}, 1, lengths(), 1, 1));
    compare(AttentionCase({dtype, 2, 64, 16}, 2, lengths(), 1, 1));
    compare(AttentionCase({dtype, 1, 128, 16}, 8, lengths(), 1, 1));
    compare(AttentionCase({dtype, 2, 128, 16}, 16, {17, 513, 1100}, 1, 1));
  }
}

TEST_P(Attention, AnyHeadDimAndPageSize) {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    compare(AttentionCase({dtype, 3, 6, 16}, 3, {1, 17, 530}, 1, 1));
    compare(AttentionCase({dtype, 1, 40, 16}, 5, {1, 17, 530}, 1, 1));
  }
  compare(AttentionCase({DType::kQ8_0, 1, 512, 16}, 3, {20}, 2, 1));
  compare(AttentionCase({DType::kF16, 1, 32, 16}, 37, {20, 513}, 2, 1));
  for (const int64_t page_tokens : {1, 7, 64, 512, 1024}) {
    compare(AttentionCase({DType::kF16, 2, 32, page_tokens}, 2, {1, 64, 513, 1030}, 1, 1));
  }
}

// A chunk of a prompt: rows around the borders of pages and of a partition, one after the other.
TEST_P(Attention, ChunksOfSeveralSequences) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    compare(AttentionCase({dtype, 2, 32, 16}, 2, {3, 40, 520}, 20, 1));
  }
}

// Rows that see what comes after them.
TEST_P(Attention, RowsThatSeeTheWholeSequence) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    compare(AttentionCase({dtype, 2, 32, 16}, 2, {3, 40, 520}, 20, 1, /*causal=*/false));
  }
}

// Scores of several hundred: without the running maximum, exp overflows.
TEST_P(Attention, LargeScores) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    compare(AttentionCase({dtype, 2, 64, 16}, 2, {1, 16, 33, 600}, 2, 100));
  }
}

TEST_P(Attention, BoundHasTeeth) {
  for (const int64_t rows : {1, 20}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
      const AttentionCase test({dtype, 2, 64, 16}, 2, {600}, rows, 1);
      // A row that sees one position less is noticed.
      for (int64_t row = 0; row < rows; row += 7) {
        GuardedArray<float> output(test.output_size());
        PagedAttentionArgs args = test.args(output.data());
        std::vector<int32_t> visible(args.rows.visible, args.rows.visible + rows);
        --visible[static_cast<std::size_t>(row)];
        args.rows.visible = visible.data();
        attend(args);
        EXPECT_FALSE(within(output, test.expected(), test.bound(in_bf16(dtype, rows))));
      }
    }
  }
}

// However the work is cut, alone or with other rows: the same bits.
TEST_P(Attention, RowsDoNotDependOnTheirNeighbours) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    for (const int64_t group : {1, 3, 16}) {
      const AttentionCase test({dtype, 2, 64, 16}, group, {3, 40, 257, 600}, 9, 1);
      const std::vector<float> one_by_one = run(test);
      for (const Cut& cut : {Cut{.partitions = 1}, Cut{.rows = 4}, Cut{.rows = 100},
                             Cut{.rows = 100, .partitions = 2}, Cut{.rows = 5, .heads = 2}}) {
        EXPECT_TRUE(same_bits(run(test, cut), one_by_one, test.output_size())) << test.name();
      }
      // In smaller batches: of one row, where that does not change how rows are computed.
      GuardedArray<float> alone(test.output_size());
      const int64_t count =
          in_bf16(dtype, test.rows()) ? table().attention.rows_before_bf16 + 1 : 1;
      for (int64_t row = 0; row < test.rows(); row += count) {
        const int64_t first = std::min(row, test.rows() - count);
        attend(test.args(alone.data() + first * test.row_size(), first, count));
      }
      EXPECT_TRUE(same_bits(alone, one_by_one, test.output_size())) << test.name();
    }
  }
}

// Guesses are verified among few rows, decoding has one: the same bits, and those of every table
// that shares its products of few rows.
TEST_P(Attention, FewRowsAreNotRounded) {
  const int64_t few = table().attention.rows_before_bf16;
  if (few > 100) GTEST_SKIP() << "rounds no rows to bf16";
  const auto tables = all_kernel_tables();
  const auto other = std::find_if(tables.begin(), tables.end(), [](const KernelTable* candidate) {
    return candidate->name == "avx512_vnni";
  });
  ASSERT_NE(other, tables.end());
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    const AttentionCase test({dtype, 2, 64, 16}, 16, {300, 600}, few / 2, 1);
    GuardedArray<float> alone(test.output_size());
    for (int64_t row = 0; row < test.rows(); ++row) {
      attend((*other)->attention, test.args(alone.data() + row * test.row_size(), row, 1));
    }
    for (const Cut& cut : {Cut{}, Cut{.rows = 100}, Cut{.rows = 3, .partitions = 1}}) {
      EXPECT_TRUE(same_bits(run(test, cut), alone.values(), test.output_size())) << test.name();
    }
  }
}

// A NaN query is seen in its own head alone.
TEST_P(Attention, NanStaysNan) {
  for (const int64_t rows : {1, 20}) {
    AttentionCase test({DType::kF16, 2, 32, 16}, 2, {20}, rows, 1);
    test.poison_query(3 * 32 + 5);
    const std::vector<float> y = run(test, {.rows = 7});
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), i / 32 == 3) << i;
  }
}

// A value that is no number is seen by the rows that see its position alone.
TEST_P(Attention, OddValuesStayWithTheRowsThatSeeThem) {
  constexpr int64_t kRows = 40, kLength = 300, kPosition = 280;
  AttentionCase test({DType::kF16, 2, 32, 16}, 2, {kLength}, kRows, 1);
  const std::vector<float> before = run(test, {.rows = 100});
  test.poison_value(kPosition);
  const std::vector<float> y = run(test, {.rows = 100});
  for (int64_t i = 0; i < test.output_size(); ++i) {
    const int64_t position = kLength - kRows + i / test.row_size();
    const int64_t head = i % test.row_size() / test.head_dim();
    const auto at = static_cast<std::size_t>(i);
    if (position >= kPosition && head < test.group()) {
      ASSERT_TRUE(std::isnan(y[at])) << i;
    } else {
      ASSERT_EQ(y[at], before[at]) << i;
    }
  }
}

CHATGLM_FOR_EVERY_TABLE(Attention);

}  // namespace
}  // namespace chatglm::kernels
