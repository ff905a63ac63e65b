// 64-bit Arm with the dot product extension (Armv8.2 and later: Cortex-A76, Neoverse, Apple's M1):
// sdot multiplies 16 pairs of signed bytes and adds four of them to each sum of 32 bits.
#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"
#include "kernels/cpu/neon_vectors.h"

namespace chatglm::kernels {
namespace {

struct NeonDotprod : NeonVectors {
  using Ints = int32x4_t;
  static Ints ints(int32_t value) { return vdupq_n_s32(value); }
  static F32 to_f32(Ints a) { return vcvtq_f32_s32(a); }

  template <int kLargest>
  struct CodeDot {
    using Partial = int32x4_t;
    static constexpr int kVectors = 8;
    static Partial begin(Ints sums) { return sums; }
    static Partial add(Partial partial, Bytes codes, const int8_t* x) {
      return vdotq_s32(partial, vreinterpretq_s8_u8(codes), broadcast4(x));
    }
    static Ints end(Ints, Partial partial) { return partial; }
  };
  using ByteDot = CodeDot<128>;

 private:
  static int8x16_t broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
  }
};

}  // namespace

constinit const KernelTable kNeonDotprodKernels =
    make_kernel_table<NeonDotprod>("neon_dotprod", cpu_has_neon_dotprod);

}  // namespace chatglm::kernels
