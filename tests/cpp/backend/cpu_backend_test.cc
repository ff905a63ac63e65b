// The CPU backend: every operation, split among 1 to 3 threads, against the reference; loading; and
// what it says to wrong arguments. The kernels themselves are tested in tests/cpp/kernels.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <utility>

#include "backend/cpu_backend.h"
#include "base/error.h"
#include "kernels/linear_case.h"
#include "kernels/paged_case.h"

namespace chatglm {
namespace {

using namespace kernels;

constexpr uint64_t kSeed = 21;

TensorView view_of(const LinearCase& test) {
  return {test.dtype, 2, test.n, test.k, test.weights.data()};
}

// Runs `action` and checks that it throws `kind` with all `words` in its message.
template <typename Action>
void expect_error(ErrorKind kind, const std::vector<std::string>& words, const Action& action) {
  try {
    action();
    ADD_FAILURE() << "expected an error with '" << words.front() << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& word : words) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
          << "no '" << word << "' in: " << error.what();
    }
  }
}

class CpuBackend : public ::testing::TestWithParam<int> {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(GetParam(), select_kernel_table());

  std::vector<float> linear(const LinearCase& test) {
    const auto weight = backend_->load_matrix(view_of(test));
    backend_->reserve(test.m, test.k);
    std::vector<float> y = test.initial();
    backend_->linear(*weight, test.bias.empty() ? nullptr : test.bias.data(), test.x.data(), test.m,
                     y.data(), !test.y.empty());
    return y;
  }

  static void expect_close(const std::vector<float>& actual, const std::vector<float>& expected) {
    std::vector<double> bound;
    for (const float value : expected) bound.push_back(1e-4 * std::fabs(value) + 1e-4);
    EXPECT_TRUE(within(actual, expected, bound));
  }
};

TEST_P(CpuBackend, ChoosesAsOneThreadWouldRowByRow) {
  Random random(kSeed);
  constexpr int64_t kCols = 3000, kRows = 9;
  std::vector<float> logits = random.normals(kRows * kCols, 3.0f);
  logits[4 * kCols + 7] = std::numeric_limits<float>::quiet_NaN();
  std::vector<int32_t> rows;
  std::vector<ChoiceRule> rules;
  for (int32_t i = 0; i < 40; ++i) {
    rows.push_back(i * 5 % static_cast<int32_t>(kRows));
    rules.push_back({.do_sample = i % 3 != 0, .uniform = i / 40.0, .top_p = i % 2 == 0 ? 1 : 0.7});
  }
  std::vector<Choice> choices(rules.size());
  backend_->choose(logits.data(), kCols, rows, rules, choices);
  ChoiceWorkspace workspace;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto row = std::span(logits).subspan(static_cast<std::size_t>(rows[i] * kCols), kCols);
    const Choice expected = try_choose_token(rules[i], row, workspace);
    EXPECT_EQ(choices[i].token, expected.token) << i;
    EXPECT_EQ(choices[i].error, expected.error) << i;
    EXPECT_EQ(choices[i].error.empty(), rows[i] != 4) << i;
  }
}

TEST_P(CpuBackend, LinearIsExactOnIntegers) {
  Random random(kSeed);
  for (const DTypeInfo& type : all_dtypes()) {
    // From what runs on one thread to what is split in many ways.
    for (const auto& [m, n, inputs] :
         {std::tuple{1, 5, 32}, {1, 1001, 512}, {40, 77, 96}, {3, 500, 1056}}) {
      const int64_t k = whole_blocks(type.dtype, inputs);
      const bool in_bf16 = m > select_kernel_table().linear_kernel(type.dtype).rows_before_bf16;
      LinearCase test = exact_case(random, type.dtype, m, n, k);
      test.bias = integer_blocks(random, n, 100, 100);
      const auto expected = [&] { return in_bf16 ? test.in_bf16().expected() : test.expected(); };
      EXPECT_TRUE(same_bits(linear(test), expected(), m * n)) << type.name << " n=" << n;
      test.y = integer_blocks(random, m * n, 100, 100);
      EXPECT_TRUE(same_bits(linear(test), expected(), m * n)) << type.name << " n=" << n;
    }
  }
}

// A matrix may come in parts, whose rows meet anywhere in a panel, and be as if it had been one.
TEST_P(CpuBackend, PartsMakeOneMatrix) {
  Random random(kSeed);
  for (const DTypeInfo& type : all_dtypes()) {
    for (const auto& heights : std::vector<std::vector<int64_t>>{
             {64, 32, 32}, {1, 2, 3, 100}, {8, 9, 700}, {31, 1, 16, 1}, {5}, {3, 2, 1, 1}}) {
      int64_t rows = 0;
      for (const int64_t height : heights) rows += height;
      const LinearCase test = exact_case(random, type.dtype, 3, rows, 512);
      std::vector<TensorView> parts;
      int64_t first = 0;
      for (const int64_t height : heights) {
        parts.push_back(view_of(test));
        parts.back().data = view_of(test).row(first);
        parts.back().rows = height;
        first += height;
      }
      const auto weight = backend_->load_matrix(parts);
      EXPECT_EQ(weight->rows(), rows);
      EXPECT_EQ(weight->size_bytes(), backend_->load_matrix(view_of(test))->size_bytes());
      backend_->reserve(test.m, test.k);
      std::vector<float> y = test.initial();
      backend_->linear(*weight, nullptr, test.x.data(), test.m, y.data());
      EXPECT_TRUE(same_bits(y, test.expected(), test.m * rows)) << type.name << " rows=" << rows;
    }
  }
}

TEST_P(CpuBackend, MatricesWriteColumnsOfOneRow) {
  Random random(kSeed);
  const LinearCase left = exact_case(random, DType::kQ8_0, 5, 40, 64);
  LinearCase right = exact_case(random, DType::kF16, 5, 24, 64);
  right.x = left.x;
  backend_->reserve(5, 64);
  std::vector<float> y(5 * 64);
  int64_t column = 0;
  for (const LinearCase* test : {&left, &std::as_const(right)}) {
    const auto weight = backend_->load_matrix(view_of(*test));
    backend_->linear(*weight, nullptr, test->x.data(), 5, y.data() + column, false, 64);
    column += test->n;
  }
  const std::vector<float> left_expected = left.expected(), right_expected = right.expected();
  for (std::size_t row = 0; row < 5; ++row) {
    for (std::size_t i = 0; i < 64; ++i) {
      ASSERT_EQ(y[row * 64 + i],
                i < 40 ? left_expected[row * 40 + i] : right_expected[row * 24 + i - 40]);
    }
  }
}

// Norms and gates on the way into a product, for kernels that prepare their input and for others.
TEST_P(CpuBackend, LinearTakesNormedAndGatedInputs) {
  Random random(kSeed);
  const int64_t n = 24, k = 64;
  for (const DType dtype : {DType::kF32, DType::kQ8_0}) {
    for (const int64_t m : {1, 40}) {
      const LinearCase test = exact_case(random, dtype, m, n, k);
      const std::vector<float> x = random.normals(m * 2 * k), norm_weight = random.normals(k);
      const auto weight = backend_->load_matrix(view_of(test));
      backend_->reserve(m, k);
      for (const LinearInput& input : {LinearInput::normed(x.data(), norm_weight.data(), 1e-5f),
                                       LinearInput::gated_by_silu(x.data())}) {
        std::vector<float> plain(static_cast<std::size_t>(m * k)),
            y(static_cast<std::size_t>(m * n)), expected(y.size());
        backend_->make_plain(input, m, k, plain.data());
        backend_->linear(*weight, nullptr, plain.data(), m, expected.data());
        backend_->linear(*weight, nullptr, input, m, y.data());
        EXPECT_TRUE(same_bits(y, expected, m * n)) << "gated: " << input.gated << " m=" << m;
      }
    }
  }
}

TEST_P(CpuBackend, ElementwiseOperations) {
  Random random(kSeed);
  const int64_t rows = 301, heads = 4, head_dim = 32, rotary_dim = 16, cols = heads * head_dim;
  const std::vector<float> x = random.normals(rows * cols), weight = random.normals(cols);
  const auto size = static_cast<std::size_t>(rows * cols);
  std::vector<float> actual(size), expected(size);

  backend_->rms_norm({x.data(), weight.data(), actual.data(), rows, cols, 1e-5f});
  reference::rms_norm({x.data(), weight.data(), expected.data(), rows, cols, 1e-5f});
  expect_close(actual, expected);

  const std::vector<float> gate_up = random.normals(rows * 2 * cols, 5);
  backend_->silu_mul({gate_up.data(), actual.data(), rows, cols});
  reference::silu_mul({gate_up.data(), expected.data(), rows, cols});
  expect_close(actual, expected);

  std::vector<int32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), 4000);
  std::vector<float> cos_sin(static_cast<std::size_t>(rows * rotary_dim)),
      cos_sin_expected = cos_sin;
  const std::vector<float> turns = {1.0f, 0.3f, 0.1f, 0.03f, 0.01f, 3e-3f, 1e-3f, 3e-4f};
  RopeTableArgs rope_table{positions.data(), turns.data(), cos_sin.data(), rows, rotary_dim, 1};
  backend_->rope_table(rope_table);
  rope_table.cos_sin = cos_sin_expected.data();
  reference::rope_table(rope_table);
  expect_close(cos_sin, cos_sin_expected);

  actual = expected = x;
  RopeArgs rope{actual.data(), cos_sin.data(), nullptr, rows, cols, heads, head_dim, rotary_dim};
  backend_->rope(rope);
  rope.x = expected.data();
  reference::rope(rope);
  expect_close(actual, expected);

  std::vector<int32_t> row_ids;
  for (int64_t row = rows; row-- > 0;) row_ids.push_back(static_cast<int32_t>(row));
  backend_->gather_rows(x.data(), cols, row_ids.data(), rows, actual.data());
  for (int64_t row = 0; row < rows; ++row) {
    ASSERT_EQ(std::memcmp(&actual[static_cast<std::size_t>(row * cols)],
                          &x[static_cast<std::size_t>((rows - 1 - row) * cols)],
                          static_cast<std::size_t>(cols) * sizeof(float)),
              0);
  }
}

TEST_P(CpuBackend, EmbedReadsTheLoadedTable) {
  Random random(kSeed);
  const int64_t vocab = 57, cols = 512;
  std::vector<int32_t> ids;
  for (int i = 0; i < 400; ++i) ids.push_back(random.integer(0, vocab - 1));
  const auto count = static_cast<int64_t>(ids.size());
  for (const DTypeInfo& type : all_dtypes()) {
    const std::vector<std::byte> stored = random_weights(random, type.dtype, vocab * cols);
    const auto table = backend_->load_table({type.dtype, 2, vocab, cols, stored.data()});
    EXPECT_EQ(table->rows(), vocab);
    EXPECT_EQ(table->cols(), cols);
    EXPECT_EQ(table->size_bytes(), static_cast<int64_t>(stored.size()));
    std::vector<float> actual(ids.size() * cols), expected = actual;
    backend_->embed(*table, ids.data(), count, actual.data());
    reference::embed({stored.data(), type.dtype, ids.data(), expected.data(), count, cols});
    EXPECT_TRUE(same_bits(actual, expected, count * cols)) << type.name;
  }
}

TEST_P(CpuBackend, CacheAndAttention) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    Random random(kSeed);
    const int64_t heads = 4, kv_heads = 2, head_dim = 64, used = kv_heads * head_dim;
    PagedCase cache(random, {dtype, kv_heads, head_dim, 16}, {300, 40, 1});
    cache.choose_rows(300);
    const std::vector<float> kv = random.normals(cache.rows() * 2 * used);
    const KvStoreArgs store{kv.data(),         kv.data() + used, 2 * used,
                            PagedCase::kLayer, cache.view(),     cache.ragged()};
    backend_->kv_store(store);
    PagedCase expected_cache = [&] {
      Random again(kSeed);
      return PagedCase(again, {dtype, kv_heads, head_dim, 16}, {300, 40, 1});
    }();
    KvStoreArgs expected_store = store;
    expected_store.kv = expected_cache.view();
    reference::kv_store(expected_store);
    EXPECT_TRUE(same_bits(cache.memory(), expected_cache.memory(), cache.memory().size()));

    cache.choose_rows(7);
    const std::vector<float> query = random.normals(cache.rows() * heads * head_dim);
    std::vector<float> actual(query.size()), expected(query.size());
    PagedAttentionArgs attention{query.data(), heads * head_dim,  actual.data(),
                                 heads,        PagedCase::kLayer, 0.125f,
                                 cache.view(), cache.ragged()};
    backend_->paged_attention(attention);
    attention.output = expected.data();
    reference::paged_attention(attention);
    expect_close(actual, expected);
  }
}

TEST_P(CpuBackend, NoRowsAreNoWork) {
  Random random(kSeed);
  LinearCase test = exact_case(random, DType::kF32, 1, 8, 32);
  const auto weight = backend_->load_matrix(view_of(test));
  const auto table = backend_->load_table(view_of(test));
  backend_->linear(*weight, nullptr, nullptr, 0, nullptr);
  backend_->embed(*table, nullptr, 0, nullptr);
  backend_->rms_norm({nullptr, nullptr, nullptr, 0, 8, 1e-5f});
  backend_->silu_mul({nullptr, nullptr, 0, 8});
  backend_->gather_rows(nullptr, 8, nullptr, 0, nullptr);
  backend_->upload(nullptr, nullptr, 0);
}

// What a loader was told: which rows will not be read again. Threads tell it at the same time.
struct Released {
  explicit Released(const TensorView& source_in)
      : source(source_in), times(static_cast<std::size_t>(source_in.rows)) {}
  TensorView source;
  std::vector<std::atomic<int>> times;  // (rows)
  std::atomic<int> calls = 0;

  static void hint(void* context, const TensorView& part) {
    auto& self = *static_cast<Released*>(context);
    EXPECT_EQ(part.dtype, self.source.dtype);
    EXPECT_EQ(part.cols, self.source.cols);
    EXPECT_GT(part.rows, 0);
    const int64_t row_bytes = self.source.row_bytes();
    const int64_t first_row = (part.data - self.source.data) / row_bytes;
    EXPECT_EQ(part.data, self.source.row(first_row));
    for (int64_t row = first_row; row < first_row + part.rows; ++row) {
      ++self.times.at(static_cast<std::size_t>(row));
    }
    ++self.calls;
    // They are indeed not read again: whoever does reads NaN.
    std::memset(const_cast<std::byte*>(part.data), 0xff,
                static_cast<std::size_t>(part.size_bytes()));
  }
  void expect_all_once() const {
    EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](const auto& n) { return n == 1; }));
    EXPECT_GT(calls.load(), 1);
  }
};

TEST_P(CpuBackend, LoadingGivesEveryRowBackOnce) {
  Random random(kSeed);
  for (const DType dtype : {DType::kF32, DType::kQ4_0}) {
    // More than one step of loading, and a last panel that is not full.
    const int64_t n = 5003, k = dtype == DType::kF32 ? 1024 : 8192;
    LinearCase test{dtype, 1, n, k, {}, random.normals(k), {}, {}};
    const std::vector<float> pattern = random.normals(1 << 14);
    std::vector<float> weights;
    while (weights.size() < static_cast<std::size_t>(n * k)) {
      weights.insert(weights.end(), pattern.begin(), pattern.end());
      weights.back() = random.normal();
    }
    weights.resize(static_cast<std::size_t>(n * k));
    test.weights = encoded(dtype, weights);
    const std::vector<float> expected = linear(test);
    const std::vector<std::byte> stored = test.weights;

    Released matrix_rows{view_of(test)};
    const auto matrix = backend_->load_matrix(matrix_rows.source, Released::hint, &matrix_rows);
    matrix_rows.expect_all_once();
    std::vector<float> y(static_cast<std::size_t>(n));
    backend_->linear(*matrix, nullptr, test.x.data(), 1, y.data());
    EXPECT_TRUE(same_bits(y, expected, n));

    test.weights = stored;
    Released table_rows{view_of(test)};
    const auto table = backend_->load_table(table_rows.source, Released::hint, &table_rows);
    table_rows.expect_all_once();
    const std::vector<int32_t> last = {static_cast<int32_t>(n - 1)};
    std::vector<float> row(static_cast<std::size_t>(k));
    backend_->embed(*table, last.data(), 1, row.data());
    const std::vector<std::byte> last_stored(
        stored.end() - static_cast<std::ptrdiff_t>(dtype_info(dtype).row_bytes(k)), stored.end());
    EXPECT_TRUE(same_bits(row, decoded(dtype, last_stored, k), k));
  }
}

// Parts that meet in the middle of a panel: its rows are still there when it is packed.
TEST_P(CpuBackend, LoadingGivesPartsBackOnce) {
  Random random(kSeed);
  LinearCase test = exact_case(random, DType::kF32, 1, 3001, 512);
  const std::vector<float> expected = test.expected();
  std::vector<TensorView> parts(3, view_of(test));
  parts[0].rows = 1005;
  parts[1].data = view_of(test).row(1005);
  parts[1].rows = 3;
  parts[2].data = view_of(test).row(1008);
  parts[2].rows = 3001 - 1008;
  Released released(view_of(test));
  const auto matrix = backend_->load_matrix(parts, Released::hint, &released);
  released.expect_all_once();
  backend_->reserve(1, 512);
  std::vector<float> y = test.initial();
  backend_->linear(*matrix, nullptr, test.x.data(), 1, y.data());
  EXPECT_TRUE(same_bits(y, expected, 3001));
}

INSTANTIATE_TEST_SUITE_P(Threads, CpuBackend, ::testing::Values(1, 2, 3));

TEST(CpuBackendTables, EveryTableGivesTheReference) {
  Random random(kSeed);
  int ran = 0;
  for (const KernelTable* table : all_kernel_tables()) {
    if (!table->supported()) continue;
    const auto backend = make_cpu_backend(2, *table);
    EXPECT_EQ(backend->isa(), table->name);
    for (const DTypeInfo& type : all_dtypes()) {
      const LinearCase test = exact_case(random, type.dtype, 2, 600, 256);
      const auto weight = backend->load_matrix(view_of(test));
      backend->reserve(2, 256);
      std::vector<float> y = test.initial();
      backend->linear(*weight, nullptr, test.x.data(), 2, y.data());
      EXPECT_TRUE(same_bits(y, test.expected(), 2 * 600)) << table->name << " " << type.name;
    }
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

TEST(CpuBackendSplit, ThreadsDoNotChangeBits) {
  Random random(kSeed);
  for (const DTypeInfo& type : all_dtypes()) {
    LinearCase test{type.dtype, 5, 700, whole_blocks(type.dtype, 352), {}, {}, {}, {}};
    test.weights = random_weights(random, type.dtype, test.n * test.k);
    test.x = random.normals(test.m * test.k);
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 3}) {
      const auto backend = make_cpu_backend(threads, select_kernel_table());
      const auto weight = backend->load_matrix(view_of(test));
      backend->reserve(test.m, test.k);
      results.push_back(test.initial());
      backend->linear(*weight, nullptr, test.x.data(), test.m, results.back().data());
      EXPECT_TRUE(same_bits(results.back(), results.front(), test.m * test.n)) << type.name;
    }
  }
}

class CpuBackendMisuse : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cpu_backend(1, select_kernel_table());
  const std::vector<std::byte> stored_ = encoded(DType::kQ8_0, std::vector<float>(4 * 32, 1.0f));
  const TensorView view_{DType::kQ8_0, 2, 4, 32, stored_.data()};
  std::vector<float> floats_ = std::vector<float>(128);
};

TEST_F(CpuBackendMisuse, ShapesThatCannotBeLoaded) {
  TensorView odd = view_;
  odd.cols = 31;
  expect_error(ErrorKind::kInvalidArgument, {"load_matrix", "multiple of 32", "q8_0", "(4, 31)"},
               [&] { backend_->load_matrix(odd); });
  TensorView narrow = view_, other = view_;
  narrow.cols = 0;
  other.dtype = DType::kQ4_0;
  expect_error(ErrorKind::kInvalidArgument, {"load_matrix", "(4, 0)"},
               [&] { backend_->load_matrix(std::vector{view_, narrow}); });
  expect_error(ErrorKind::kInvalidArgument, {"load_matrix", "q8_0 (4, 32)", "q4_0 (4, 32)"},
               [&] { backend_->load_matrix(std::vector{view_, other}); });
  expect_error(ErrorKind::kInvalidArgument, {"load_matrix", "none"},
               [&] { backend_->load_matrix(std::vector<TensorView>{}); });
  TensorView nothing = view_;
  nothing.data = nullptr;
  expect_error(ErrorKind::kInvalidArgument, {"load_table", "(4, 32)"},
               [&] { backend_->load_table(nothing); });
}

TEST_F(CpuBackendMisuse, WeightsOfTheOtherKind) {
  const auto table = backend_->load_table(view_);
  const auto matrix = backend_->load_matrix(view_);
  const int32_t id = 0;
  expect_error(ErrorKind::kInvalidArgument, {"linear", "load_matrix"},
               [&] { backend_->linear(*table, nullptr, floats_.data(), 1, floats_.data()); });
  expect_error(ErrorKind::kInvalidArgument, {"embed", "load_table"},
               [&] { backend_->embed(*matrix, &id, 1, floats_.data()); });
}

TEST_F(CpuBackendMisuse, RowsOutsideOfTheTable) {
  const auto table = backend_->load_table(view_);
  for (const int32_t id : {-1, 4}) {
    expect_error(ErrorKind::kInvalidArgument, {"embed", std::to_string(id), "4 rows"},
                 [&] { backend_->embed(*table, &id, 1, floats_.data()); });
  }
}

TEST_F(CpuBackendMisuse, ProductsLargerThanReserved) {
  const LinearKernel& kernel = select_kernel_table().linear_kernel(DType::kQ8_0);
  if (kernel.input_row_bytes(32, 1) == 0) GTEST_SKIP() << "this table's products need no scratch";
  const auto matrix = backend_->load_matrix(view_);
  expect_error(ErrorKind::kInvalidArgument, {"linear", "(1, 32)", "reserve"},
               [&] { backend_->linear(*matrix, nullptr, floats_.data(), 1, floats_.data()); });
}

TEST_F(CpuBackendMisuse, RowsNarrowerThanTheirOutputs) {
  const auto matrix = backend_->load_matrix(view_);
  expect_error(ErrorKind::kInvalidArgument, {"linear", "4 outputs", "3"}, [&] {
    backend_->linear(*matrix, nullptr, floats_.data(), 1, floats_.data(), false, 3);
  });
}

TEST_F(CpuBackendMisuse, ArgumentsOfOperations) {
  expect_error(ErrorKind::kInvalidArgument, {"rope_table", "even", "5"},
               [&] { backend_->rope_table({nullptr, nullptr, nullptr, 1, 5, 1}); });
  expect_error(ErrorKind::kInvalidArgument, {"rope", "head_dim 32", "34"},
               [&] { backend_->rope({floats_.data(), nullptr, nullptr, 1, 32, 1, 32, 34}); });
  expect_error(ErrorKind::kInvalidArgument, {"rope", "divisor of rotary_dim 32", "24"},
               [&] { backend_->rope({floats_.data(), nullptr, nullptr, 1, 32, 1, 32, 32, 24}); });
  PagedKvView kv{nullptr, DType::kQ8_0, 16, 2, 32, 3};
  expect_error(ErrorKind::kInvalidArgument, {"kv_store", "layer 3", "3 layers"},
               [&] { backend_->kv_store({nullptr, nullptr, 0, 3, kv, {}}); });
  expect_error(ErrorKind::kInvalidArgument, {"paged_attention", "2 KV heads", "5"},
               [&] { backend_->paged_attention({nullptr, 0, nullptr, 5, 0, 1, kv, {}}); });
  kv.head_dim = 1024;
  expect_error(ErrorKind::kInvalidArgument, {"paged_attention", "512", "1024"},
               [&] { backend_->paged_attention({nullptr, 0, nullptr, 4, 0, 1, kv, {}}); });
  kv.head_dim = 40;
  expect_error(ErrorKind::kInvalidArgument, {"kv_store", "40", "q8_0"},
               [&] { backend_->kv_store({nullptr, nullptr, 0, 0, kv, {}}); });
}

TEST_F(CpuBackendMisuse, BatchesOfUnequalArrays) {
  const std::vector<int32_t> three(3), two(2);
  Batch batch;
  batch.token_ids = three;
  batch.positions = three;
  batch.slots = three;
  batch.visible = three;
  batch.sequence = two;
  expect_error(ErrorKind::kInvalidArgument, {"stage", "3 tokens", "2"},
               [&] { backend_->stage(batch); });
}

TEST(CpuBackendStage, HandsOutWhatItWasGiven) {
  const auto backend = make_cpu_backend(1, select_kernel_table());
  const std::vector<int32_t> tokens = {5, 6, 7}, positions = {0, 1, 9}, slots = {4, 5, 13},
                             visible = {5, 6, 14}, sequence = {0, 0, 1}, blocks = {2, 3},
                             logit_rows = {1, 2};
  const StagedBatch staged =
      backend->stage({tokens, positions, slots, visible, sequence, {}, blocks, 1, logit_rows});
  EXPECT_EQ(staged.token_ids, tokens.data());
  EXPECT_EQ(staged.logit_rows, logit_rows.data());
  EXPECT_EQ(staged.num_logit_rows, 2);
  EXPECT_EQ(staged.positions, positions.data());
  EXPECT_EQ(staged.rows.slots, slots.data());
  EXPECT_EQ(staged.rows.visible, visible.data());
  EXPECT_EQ(staged.rows.sequence, sequence.data());
  EXPECT_EQ(staged.rows.block_table, blocks.data());
  EXPECT_EQ(staged.rows.block_table_stride, 1);
  EXPECT_EQ(staged.rows.rows, 3);
}

}  // namespace
}  // namespace chatglm
