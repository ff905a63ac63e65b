// 64-bit Arm with Advanced SIMD, without the dot product extension: integer dot products by
// widening multiplies.
#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"
#include "kernels/cpu/neon_vectors.h"

namespace chatglm::kernels {
namespace {

struct Neon : NeonVectors {
  struct Ints {
    int32x4_t rows01, rows23;  // two sums for each of two weight rows
  };
  static Ints ints(int32_t value) {
    const int32_t halves[4] = {value, 0, value, 0};
    return {vld1q_s32(halves), vld1q_s32(halves)};
  }
  static F32 to_f32(Ints a) { return vcvtq_f32_s32(vpaddq_s32(a.rows01, a.rows23)); }

  // Products are summed in 16 bits: so many of them fit.
  template <int kLargest>
  struct CodeDot {
    struct Partial {
      int16x8_t rows01, rows23;  // four sums for each of two weight rows
    };
    static constexpr int kVectors = std::bit_floor((1U << 15) / (kLargest * kLargestInput));
    static Partial begin(Ints) { return {vdupq_n_s16(0), vdupq_n_s16(0)}; }
    static Partial add(Partial partial, Bytes codes, const int8_t* x) {
      const int8x16_t weights = vreinterpretq_s8_u8(codes);
      const int8x8_t input = broadcast4(x);
      return {vmlal_s8(partial.rows01, vget_low_s8(weights), input),
              vmlal_s8(partial.rows23, vget_high_s8(weights), input)};
    }
    static Ints end(Ints sums, Partial partial) {
      return {vpadalq_s16(sums.rows01, partial.rows01), vpadalq_s16(sums.rows23, partial.rows23)};
    }
  };
  using ByteDot = CodeDot<128>;

 private:
  static int8x8_t broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return vreinterpret_s8_s32(vdup_n_s32(four));
  }
};

}  // namespace

constinit const KernelTable kNeonKernels = make_kernel_table<Neon>("neon", cpu_has_neon);

}  // namespace chatglm::kernels
