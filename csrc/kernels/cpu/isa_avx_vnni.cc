// x86-64 with AVX2 and AVX-VNNI, the laptops and desktops that have no AVX-512: integer dot
// products by vpdpbusd on 256 bits, which takes unsigned by signed and sums in 32 bits.
#include "kernels/cpu/avx2_vectors.h"
#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

struct AvxVnni : Avx2Vectors {
  static constexpr int kByteFlip = 0x80;
  static constexpr int kByteOffset = 128;
  static Bytes lookup(Bytes a) { return look_up(kLookupTable<AvxVnni>, a); }

  template <int kLargest>
  struct CodeDot {
    using Partial = __m256i;
    static constexpr int kVectors = 8;
    static Partial begin(Ints sums) { return sums; }
    static Partial add(Partial partial, Bytes codes, const int8_t* x) {
      return _mm256_dpbusd_avx_epi32(partial, codes, broadcast4(x));
    }
    static Ints end(Ints, Partial partial) { return partial; }
  };
  using ByteDot = CodeDot<255>;
};

}  // namespace

constinit const KernelTable kAvxVnniKernels =
    make_kernel_table<AvxVnni>("avx_vnni", cpu_has_avx_vnni);

}  // namespace chatglm::kernels
