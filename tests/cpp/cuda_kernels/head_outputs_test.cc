// linear_rotate_store() on the device: bit for bit linear(), then rotate_and_store(), in every
// storage type of weights, and in one kernel where that can be.
#include "cuda_kernels/device_cache.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/product.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 41;
constexpr float kUntouched = 12345.5F;

// On which kernels start early, where there are such.
DeviceTraits traits() {
  cudaDeviceProp properties{};
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  return {properties.major * 10 + properties.minor, properties.multiProcessorCount};
}

struct Heads {
  int64_t query_heads, kv_heads, head_dim, rotary_dim;
  int64_t pair_span = 2;

  int64_t size() const { return (query_heads + 2 * kv_heads) * head_dim; }
};

// The last `each` tokens of sequences of these lengths.
struct Steps {
  std::vector<int64_t> lengths;
  int64_t each;
};

struct HeadsCase {
  DType dtype;
  Heads heads;
  Steps steps;
  DType cache = DType::kF16;
  int64_t k = 64;
  bool has_bias = false;
  bool has_query_scale = false;
  bool has_key_scale = false;

  std::string name() const {
    return std::string(dtype_info(dtype).name) + " heads of " + std::to_string(heads.head_dim) +
           " rotary=" + std::to_string(heads.rotary_dim) +
           " span=" + std::to_string(heads.pair_span) + " cache " +
           std::string(dtype_info(cache).name) + " k=" + std::to_string(k) + " sequences of " +
           std::to_string(steps.each) + " x " + std::to_string(steps.lengths.size()) +
           (has_bias ? " bias" : "") + (has_query_scale ? " scale" : "");
  }
};

// Computes a case in both ways; whether one kernel did all is seen at y's keys and values, which
// are then left alone.
class BothWays {
 public:
  BothWays(Random& random, const HeadsCase& test)
      : test_(test),
        layout_(weight_layout(test.dtype, test.heads.size(), test.k)),
        cache_(random, {test.cache, test.heads.kv_heads, test.heads.head_dim, 4},
               test.steps.lengths) {
    cache_.choose_rows(test.steps.each);
    const std::vector<std::byte> stored =
        random_weights(random, test.dtype, layout_.n * layout_.k, 0.05F);
    std::vector<std::byte> packed(static_cast<std::size_t>(layout_.size_bytes));
    pack_rows(stored.data(), layout_.n, layout_, 0, packed.data());
    weights_ = std::make_unique<DeviceArray<std::byte>>(packed);
    const auto copied = [&](int64_t count, float scale) {
      return std::make_unique<DeviceArray<float>>(random.normals(count, scale), 1);
    };
    x_ = copied(rows() * test.k, 3);
    bias_ = copied(layout_.n, 1);
    cos_sin_ = copied(rows() * test.heads.rotary_dim, 1);
    scale_ = copied(rows(), 1);
  }

  int64_t rows() const { return cache_.rows(); }

  void compare(bool in_one_kernel) const {
    const Result expected = run(false), found = run(true);
    ASSERT_TRUE(same_bits(found.pages, expected.pages, cache_.memory().size()));
    const int64_t queries = test_.heads.query_heads * test_.heads.head_dim;
    for (int64_t row = 0; row < rows(); ++row) {
      const auto begin = static_cast<std::ptrdiff_t>(row * layout_.n);
      const auto own = found.y.begin() + begin, oracle = expected.y.begin() + begin;
      ASSERT_TRUE(same_bits(std::vector<float>(own, own + queries),
                            std::vector<float>(oracle, oracle + queries), queries))
          << "row " << row;
      ASSERT_EQ(std::count(own + queries, own + layout_.n, kUntouched),
                in_one_kernel ? layout_.n - queries : 0)
          << "row " << row;
    }
  }

 private:
  struct Result {
    std::vector<float> y;
    std::vector<std::byte> pages;
  };

  Result run(bool at_once) const {
    const Heads& heads = test_.heads;
    const DeviceCache device(cache_);
    const DeviceArray<float> y(
        std::vector<float>(static_cast<std::size_t>(rows() * layout_.n), kUntouched), 1);
    const DeviceArray<std::byte> prepared(prepared_bytes(rows(), test_.k));
    const LinearCall call{
        .weight = device_weight(layout_, weights_->data()),
        .input = {.x = x_->data(), .prepared = prepared.data(), .m = rows(), .k = test_.k},
        .bias = test_.has_bias ? bias_->data() : nullptr,
        .y = y.data(),
        .y_stride = layout_.n,
        .accumulate = false};
    float* const keys = y.data() + heads.query_heads * heads.head_dim;
    const RopeArgs queries{.x = y.data(),
                           .cos_sin = cos_sin_->data(),
                           .row_scale = test_.has_query_scale ? scale_->data() : nullptr,
                           .rows = rows(),
                           .row_stride = layout_.n,
                           .heads = heads.query_heads,
                           .head_dim = heads.head_dim,
                           .rotary_dim = heads.rotary_dim,
                           .pair_span = heads.pair_span};
    RotateAndStoreArgs args{queries,
                            queries,
                            {keys, keys + heads.kv_heads * heads.head_dim, layout_.n,
                             PagedCase::kLayer, device.view(), device.ragged(0, rows())}};
    args.keys.x = keys;
    args.keys.heads = heads.kv_heads;
    args.keys.row_scale = test_.has_key_scale ? scale_->data() : nullptr;
    if (at_once) {
      linear_rotate_store(call, args, traits(), nullptr);
    } else {
      linear(call, traits(), nullptr);
      rotate_and_store(args, nullptr);
    }
    static_cast<void>(prepared.values());  // its guards
    return {y.values(), device.bytes()};
  }

  HeadsCase test_;
  WeightLayout layout_;
  PagedCase cache_;
  std::unique_ptr<DeviceArray<std::byte>> weights_;
  std::unique_ptr<DeviceArray<float>> x_, bias_, cos_sin_, scale_;
};

const Steps kSteps[] = {{{7}, 1},             // 1 row
                        {{5, 11}, 1},         // 2
                        {{5, 3, 11}, 1},      // 3
                        {{9, 2, 12}, 3},      // 8
                        {{20, 4, 1}, 4},      // 9
                        {{20, 7, 4, 2}, 5}};  // 16

class CudaHeadOutputs : public CudaKernelTest, public ::testing::WithParamInterface<DType> {};

TEST_P(CudaHeadOutputs, HaveTheBitsOfTheOperationsOneByOne) {
  constexpr Heads kHeads[] = {{3, 1, 6, 4}, {2, 2, 20, 10}, {2, 1, 64, 32}, {1, 1, 2, 2}};
  Random random(kSeed);
  const bool has_large_blocks = dtype_info(GetParam()).block_elements == 256;
  int index = 0;
  for (const Heads& heads : kHeads) {
    for (const Steps& steps : kSteps) {
      const HeadsCase test{.dtype = GetParam(),
                           .heads = heads,
                           .steps = steps,
                           .cache = index % 2 == 0 ? DType::kF16 : DType::kF32,
                           .k = has_large_blocks ? 256
                                : index % 5 == 0 ? 1056
                                                 : 96,
                           .has_bias = random.integer(0, 1) == 1,
                           .has_query_scale = random.integer(0, 1) == 1};
      ++index;
      ASSERT_NO_FATAL_FAILURE(BothWays(random, test).compare(/*in_one_kernel=*/true))
          << test.name();
    }
  }
}

std::vector<DType> every_dtype() {
  std::vector<DType> all;
  for (const DTypeInfo& type : all_dtypes()) all.push_back(type.dtype);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Type, CudaHeadOutputs, ::testing::ValuesIn(every_dtype()),
                         [](const auto& param) {
                           return std::string(dtype_info(param.param).name);
                         });

using CudaHeadOutputCases = CudaKernelTest;

// Where a warp has four rows of the matrix.
TEST_F(CudaHeadOutputCases, OfLargeMatrices) {
  Random random(kSeed);
  for (const Steps& steps : {kSteps[0], kSteps[1]}) {
    const HeadsCase test{.dtype = DType::kQ4_0,
                         .heads = {80, 8, 128, 64},
                         .steps = steps,
                         .has_bias = true,
                         .has_query_scale = true};
    ASSERT_NO_FATAL_FAILURE(BothWays(random, test).compare(/*in_one_kernel=*/true));
  }
}

// What warps don't have whole takes the two kernels.
TEST_F(CudaHeadOutputCases, ThatCannotBeStoredAtOnce) {
  const HeadsCase plain{
      .dtype = DType::kQ4_0, .heads = {2, 1, 32, 16}, .steps = kSteps[1], .has_bias = true};
  HeadsCase blocks = plain, spans = plain, odd = plain, scaled = plain, many = plain;
  blocks.cache = DType::kQ8_0;
  spans.heads.pair_span = 16;
  odd.heads = {2, 1, 5, 4};
  scaled.has_key_scale = true;
  many.steps = {{20, 7, 4, 3}, 5};
  Random random(kSeed);
  for (const HeadsCase& test : {blocks, spans, odd, scaled, many}) {
    const BothWays ways(random, test);
    ASSERT_NO_FATAL_FAILURE(ways.compare(/*in_one_kernel=*/false)) << test.name();
  }
  ASSERT_NO_FATAL_FAILURE(BothWays(random, plain).compare(/*in_one_kernel=*/true));
}

}  // namespace
}  // namespace chatglm::kernels::cuda
