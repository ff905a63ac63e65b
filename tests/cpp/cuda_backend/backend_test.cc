// The device as a Backend: its name, its memory, what it refuses.
#include <algorithm>
#include <numeric>
#include <tuple>

#include "backend/registry.h"
#include "cuda_backend/test_support.h"

namespace chatglm {
namespace {

using namespace test;
using CudaBackendTest = CudaTest;

TEST_F(CudaBackendTest, IsInTheTableAndTellsWhatItIs) {
  const auto backend = create_backend("auto", {.num_threads = 3});
  EXPECT_EQ(backend->device(), "cuda");
  EXPECT_EQ(create_backend("cuda", {})->device(), "cuda");
  EXPECT_EQ(create_backend("cuda:0", {})->device(), "cuda");
  EXPECT_EQ(create_backend("cpu", {})->device(), "cpu");
  EXPECT_EQ(backend->num_threads(), 3);
  EXPECT_TRUE(backend->isa().starts_with("sm_")) << backend->isa();
  const std::string text = backend->description();
  EXPECT_NE(text.find(", " + std::string(backend->isa()) + ", "), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with(" GiB")) << text;
  EXPECT_GT(backend->free_memory_bytes().value(), 0);
}

// Where this fails on a GPU, its products of many rows are right all the same, and slower.
TEST_F(CudaBackendTest, WarpgroupsOfThisDeviceAreUsed) {
  const auto backend = cuda_backend();
  backend->reserve(17, 64);
  EXPECT_TRUE(backend->description().ends_with(" GiB")) << backend->description();
}

TEST_F(CudaBackendTest, MemoryIsZeroedAndAligned) {
  const auto backend = cuda_backend();
  for (const int64_t size : {int64_t{1}, int64_t{63}, int64_t{4097}, int64_t{1} << 20}) {
    const auto buffer = backend->allocate(size);
    ASSERT_EQ(buffer->size_bytes(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64, 0u) << size;
    std::vector<std::byte> bytes(static_cast<std::size_t>(size), std::byte{7});
    backend->download(bytes.data(), buffer->data(), size);
    EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{0}), size);
  }
  EXPECT_EQ(backend->allocate(0)->size_bytes(), 0);
  EXPECT_EQ(backend->allocate_host(100)->size_bytes(), 100);
  error_of(ErrorKind::kInvalidArgument, [&] { backend->allocate(-1); });
}

TEST_F(CudaBackendTest, ASourceMayChangeAfterItsUpload) {
  const auto backend = cuda_backend();
  const auto buffer = backend->allocate(1000), pinned = backend->allocate_host(1000);
  std::vector<uint8_t> pageable(1000), received(1000), expected(1000);
  std::iota(expected.begin(), expected.end(), uint8_t{3});
  for (uint8_t* const sent : {pageable.data(), pinned->as<uint8_t>()}) {
    std::copy(expected.begin(), expected.end(), sent);
    backend->upload(buffer->data(), sent, 1000);
    std::fill_n(sent, 1000, uint8_t{0});
    backend->download(received.data(), buffer->data(), 1000);
    EXPECT_EQ(received, expected);
  }
}

TEST_F(CudaBackendTest, SaysHowMuchIsNeededAndHowMuchIsFree) {
  const auto backend = cuda_backend();
  const Error error = error_of(ErrorKind::kDevice, [&] { backend->allocate(int64_t{1} << 50); });
  EXPECT_NE(error.message().find("out of memory on cuda:0: 1125899906842624 bytes (1048576.00 GiB) "
                                 "are needed, "),
            std::string::npos)
      << error.what();
  EXPECT_NE(error.message().find(" are free"), std::string::npos) << error.what();
  EXPECT_EQ(backend->allocate(64)->size_bytes(), 64) << "unusable after a refusal";
}

TEST_F(CudaBackendTest, ADeviceThatIsNotThere) {
  for (const int index : {-1, 1000}) {
    EXPECT_NE(why_no_cuda(index), "");
    const Error error =
        error_of(ErrorKind::kDevice, [&] { create_cuda_backend({.device_index = index}); });
    EXPECT_EQ(error.message(), why_no_cuda(index));
  }
}

// A batch of one sequence whose rows stand one after the other.
struct Rows {
  explicit Rows(std::vector<int32_t> ids) : token_ids(std::move(ids)), zeros(token_ids.size()) {
    slots.resize(token_ids.size());
    std::iota(slots.begin(), slots.end(), 0);
    visible.resize(token_ids.size());
    std::iota(visible.begin(), visible.end(), 1);
  }
  Batch batch() const {
    return {.token_ids = token_ids,
            .positions = slots,
            .slots = slots,
            .visible = visible,
            .sequence = zeros,
            .layouts = {&layout, 1},
            .block_table = {&block, 1},
            .block_table_stride = 1,
            .logit_rows = {}};
  }
  std::vector<int32_t> token_ids, slots, visible, zeros;
  PromptLayout layout;
  int32_t block = 0;
};

class CudaRefusals : public CudaTest {
 protected:
  // The same words as of the CPU.
  template <typename Action>
  void expect_same(const Action& action) {
    const Error found = error_of(ErrorKind::kInvalidArgument, [&] { action(*cuda_); });
    const Error expected = error_of(ErrorKind::kInvalidArgument, [&] { action(*cpu_); });
    EXPECT_STREQ(found.what(), expected.what());
  }
  void SetUp() override {
    CudaTest::SetUp();
    cuda_ = cuda_backend();
  }
  void TearDown() override {
    cuda_.reset();
    CudaTest::TearDown();
  }

  std::unique_ptr<Backend> cuda_;
  std::unique_ptr<Backend> cpu_ = exact_backend(1);
  std::vector<float> numbers_ = random_floats(32 * 32, 3);
  TensorView view_{DType::kF32, 2, 32, 32, reinterpret_cast<const std::byte*>(numbers_.data())};
};

TEST_F(CudaRefusals, RowsOutsideOfATable) {
  for (const int32_t wrong : {-1, 32}) {
    expect_same([&](Backend& backend) {
      const auto table = backend.load_table(view_);
      const auto output = backend.allocate(3 * 32 * 4);
      const Rows rows({1, wrong, 2});
      const StagedBatch staged = backend.stage(rows.batch());
      backend.embed(*table, staged.token_ids, 1, output->as<float>());
      backend.embed(*table, staged.token_ids + 2, 1, output->as<float>());
      backend.embed(*table, staged.token_ids, 3, output->as<float>());
    });
  }
  // Ids that are no batch's are looked at, too.
  const auto table = cuda_->load_table(view_);
  const auto output = cuda_->allocate(3 * 32 * 4), ids = cuda_->allocate(12);
  const int32_t wrong[] = {0, 5, 77};
  cuda_->upload(ids->data(), wrong, 12);
  cuda_->embed(*table, ids->as<int32_t>(), 2, output->as<float>());
  const Error error = error_of(ErrorKind::kInvalidArgument, [&] {
    cuda_->embed(*table, ids->as<int32_t>(), 3, output->as<float>());
  });
  EXPECT_NE(error.message().find("row 77"), std::string::npos) << error.what();
}

TEST_F(CudaRefusals, ForeignWeights) {
  const auto other = cuda_backend();
  const auto buffer = cuda_->allocate(4096);
  cuda_->reserve(1, 32);
  for (Backend* owner : {cpu_.get(), other.get()}) {
    const auto matrix = owner->load_matrix(view_);
    const auto table = owner->load_table(view_);
    const auto multiply = [&](const Weight& weight) {
      cuda_->linear(weight, nullptr, buffer->as<float>(), 1, buffer->as<float>());
    };
    const auto look_up = [&](const Weight& weight) {
      cuda_->embed(weight, buffer->as<int32_t>(), 1, buffer->as<float>());
    };
    error_of(ErrorKind::kInvalidArgument, [&] { multiply(*matrix); });
    error_of(ErrorKind::kInvalidArgument, [&] { look_up(*table); });
  }
  const auto matrix = cuda_->load_matrix(view_);
  const auto table = cuda_->load_table(view_);
  error_of(ErrorKind::kInvalidArgument,
           [&] { cuda_->linear(*table, nullptr, buffer->as<float>(), 1, buffer->as<float>()); });
  error_of(ErrorKind::kInvalidArgument,
           [&] { cuda_->embed(*matrix, buffer->as<int32_t>(), 1, buffer->as<float>()); });
}

TEST_F(CudaRefusals, ProductsWithoutRoom) {
  const auto matrix = cuda_->load_matrix(view_);
  const auto x = cuda_->allocate(64 * 32 * 4), y = cuda_->allocate(64 * 32 * 4);
  const auto multiply = [&](int64_t rows, int64_t y_stride = 0) {
    cuda_->linear(*matrix, nullptr, x->as<float>(), rows, y->as<float>(), false, y_stride);
  };
  error_of(ErrorKind::kInvalidArgument, [&] { multiply(1); });
  cuda_->reserve(8, 32);
  multiply(8);
  const Error error = error_of(ErrorKind::kInvalidArgument, [&] { multiply(64); });
  EXPECT_NE(error.message().find("(64, 32); reserve() more"), std::string::npos) << error.what();
  error_of(ErrorKind::kInvalidArgument, [&] { multiply(1, 31); });
  expect_same([](Backend& backend) { backend.reserve(-1, 32); });
}

TEST_F(CudaRefusals, ArraysOfOtherLengths) {
  for (const int which : {0, 1, 2, 3}) {
    expect_same([&](Backend& backend) {
      Rows rows({1, 2, 3});
      Batch batch = rows.batch();
      const std::vector<int32_t> four(4);
      std::span<const int32_t>* const spans[] = {&batch.positions, &batch.slots, &batch.visible,
                                                 &batch.sequence};
      *spans[which] = four;
      backend.stage(batch);
    });
  }
}

TEST_F(CudaRefusals, ShapesThatCannotBe) {
  expect_same([](Backend& backend) {
    kernels::RopeTableArgs args{};
    args.rotary_dim = 3;
    backend.rope_table(args);
  });
  for (const auto& [rotary_dim, pair_span] : {std::pair{10, 2}, {7, 2}, {8, 3}, {8, 6}}) {
    expect_same([&](Backend& backend) {
      kernels::RopeArgs args{};
      args.head_dim = 8;
      args.rotary_dim = rotary_dim;
      args.pair_span = pair_span;
      backend.rope(args);
    });
  }
  const kernels::PagedKvView kv{.pages = nullptr,
                                .dtype = DType::kQ8_0,
                                .page_tokens = 16,
                                .kv_heads = 2,
                                .head_dim = 32,
                                .num_layers = 2};
  for (const auto& [layer, head_dim, heads] :
       {std::tuple{-1, 32, 4}, {2, 32, 4}, {0, 33, 4}, {0, 32, 3}, {0, 1024, 4}}) {
    kernels::PagedKvView view = kv;
    view.head_dim = head_dim;
    expect_same([&](Backend& backend) {
      kernels::PagedAttentionArgs args{};
      args.heads = heads;
      args.layer = layer;
      args.kv = view;
      backend.paged_attention(args);
    });
    if (heads == 3 || head_dim == 1024) continue;
    expect_same([&](Backend& backend) {
      kernels::KvStoreArgs args{};
      args.layer = layer;
      args.kv = view;
      backend.kv_store(args);
    });
  }
}

}  // namespace
}  // namespace chatglm
