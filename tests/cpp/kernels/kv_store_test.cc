// kv_store() of every ISA: the bytes are the plain codec's, and no other byte is touched.
#include "kernels/paged_case.h"

namespace chatglm::kernels {
namespace {

constexpr uint64_t kSeed = 15;

class KvStore : public KernelTest {
 protected:
  void compare(const KvLayout& layout) const {
    Random random(kSeed);
    PagedCase expected(random, layout, {1, 5, 16, 17, 40});
    random = Random(kSeed);
    PagedCase actual(random, layout, {1, 5, 16, 17, 40});
    expected.choose_rows(20);
    actual.choose_rows(20);

    // Keys and values as they lie in a fused projection, some beyond the range of f16.
    const int64_t used = layout.kv_heads * layout.head_dim, stride = 2 * used + 3;
    std::vector<float> fused = random.normals(actual.rows() * stride);
    for (float& value : fused) {
      if (random.integer(0, 50) == 0) value = 1e5f * random.normal();
      if (random.integer(0, 50) == 0) value = 1e-7f * random.normal();
    }
    std::fill_n(fused.begin(), layout.head_dim, 0.0f);  // a block without a scale
    const GuardedArray<float> input(fused, 1);
    KvStoreArgs args{input.data(),      input.data() + used, stride,
                     PagedCase::kLayer, expected.view(),     expected.ragged()};
    reference::kv_store(args);

    args.kv = actual.view();
    args.rows = actual.ragged();
    table().kv_store(args, 7, actual.rows());
    table().kv_store(args, 0, 7);
    table().kv_store(args, 3, 3);
    EXPECT_TRUE(same_bits(actual.memory(), expected.memory(), expected.memory().size()))
        << layout_name(layout);
    EXPECT_TRUE(actual.memory().guards_intact());
  }
};

TEST_P(KvStore, MatchesReferenceByteForByte) {
  for (const int64_t page_tokens : {1, 16, 64}) {
    for (const int64_t kv_heads : {1, 2, 5}) {
      for (const int64_t head_dim : {32, 64, 128}) {
        for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
          compare({dtype, kv_heads, head_dim, page_tokens});
        }
      }
      for (const int64_t head_dim : {1, 6, 40}) {
        compare({DType::kF32, kv_heads, head_dim, page_tokens});
        compare({DType::kF16, kv_heads, head_dim, page_tokens});
      }
    }
  }
}

CHATGLM_FOR_EVERY_TABLE(KvStore);

}  // namespace
}  // namespace chatglm::kernels
