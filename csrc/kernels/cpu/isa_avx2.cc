// x86-64 with AVX2, FMA and F16C: integer dot products by vpmaddubsw.
#include "kernels/cpu/avx2_vectors.h"
#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

struct Avx2 : Avx2Vectors {
  static constexpr int kByteFlip = 0;
  static constexpr int kByteOffset = 0;
  static Bytes lookup(Bytes a) { return look_up(kLookupTable<Avx2>, a); }

  // Pairs of products are summed in 16 bits: so many of them fit.
  template <int kLargest>
  struct CodeDot {
    using Partial = __m256i;
    static constexpr int kVectors = std::bit_floor((1U << 15) / (2 * kLargest * kLargestInput));
    static Partial begin(Ints) { return _mm256_setzero_si256(); }
    static Partial add(Partial partial, Bytes codes, const int8_t* x) {
      return _mm256_add_epi16(partial, _mm256_maddubs_epi16(codes, broadcast4(x)));
    }
    static Ints end(Ints sums, Partial partial) {
      return _mm256_add_epi32(sums, _mm256_madd_epi16(partial, _mm256_set1_epi16(1)));
    }
  };

  // |w| * (x with the sign of w): the products of a pair stay below 2 * 128 * 127 < 2^15.
  struct ByteDot : CodeDot<128> {
    static Partial add(Partial partial, Bytes weights, const int8_t* x) {
      const __m256i input = _mm256_sign_epi8(broadcast4(x), weights);
      return _mm256_add_epi16(partial, _mm256_maddubs_epi16(_mm256_abs_epi8(weights), input));
    }
  };
};

}  // namespace

constinit const KernelTable kAvx2Kernels = make_kernel_table<Avx2>("avx2", cpu_has_avx2);

}  // namespace chatglm::kernels
