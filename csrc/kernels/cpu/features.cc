// CPU feature detection: cpuid and xgetbv on x86, what the system tells on Arm.
#include "kernels/cpu/features.h"

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#define CHATGLM_X86 1
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_M_ARM64)
#include <windows.h>
#endif

namespace chatglm::kernels {
namespace {

#if defined(CHATGLM_X86)
struct CpuId {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuId cpuid(uint32_t leaf, uint32_t subleaf) {
  CpuId id;
#if defined(_MSC_VER)
  int limits[4];
  int words[4];
  __cpuid(limits, 0);
  if (static_cast<uint32_t>(limits[0]) < leaf) return id;
  __cpuidex(words, static_cast<int>(leaf), static_cast<int>(subleaf));
  id = {static_cast<uint32_t>(words[0]), static_cast<uint32_t>(words[1]),
        static_cast<uint32_t>(words[2]), static_cast<uint32_t>(words[3])};
#else
  __get_cpuid_count(leaf, subleaf, &id.eax, &id.ebx, &id.ecx, &id.edx);
#endif
  return id;
}

// XCR0: which register sets the system saves at a context switch. Needs OSXSAVE.
uint64_t saved_registers() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
#endif
}

bool all_bits(uint64_t value, uint64_t bits) {
  return (value & bits) == bits;
}

constexpr uint32_t bit(int index) {
  return uint32_t{1} << index;
}

// Linux gives a process the room for tile registers when it asks for it, to all of its threads.
bool may_use_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

struct X86Features {
  bool avx2 = false;
  bool avx_vnni = false;
  bool avx512_vnni = false;
  bool amx = false;

  X86Features() {
    constexpr uint32_t kFma = bit(12), kOsxsave = bit(27), kAvx = bit(28), kF16c = bit(29);
    constexpr uint32_t kAvx2 = bit(5);
    constexpr uint32_t kAvx512F = bit(16), kDq = bit(17), kBw = bit(30), kVl = bit(31);
    constexpr uint32_t kVnni = bit(11);
    constexpr uint64_t kYmmState = 0x6;               // XMM, upper halves of YMM
    constexpr uint64_t kZmmState = kYmmState | 0xe0;  // masks, upper halves, ZMM16..31

    const CpuId basic = cpuid(1, 0);
    if (!all_bits(basic.ecx, kFma | kOsxsave | kAvx | kF16c)) return;
    const CpuId extended = cpuid(7, 0);
    const uint64_t saved = saved_registers();
    avx2 = all_bits(extended.ebx, kAvx2) && all_bits(saved, kYmmState);
    constexpr uint32_t kAvxVnni = bit(4);
    const CpuId more = cpuid(7, 1);
    avx_vnni = avx2 && all_bits(more.eax, kAvxVnni);
    avx512_vnni = avx2 && all_bits(extended.ebx, kAvx512F | kDq | kBw | kVl) &&
                  all_bits(extended.ecx, kVnni) && all_bits(saved, kZmmState);

    constexpr uint32_t kAmxBf16 = bit(22), kAmxTile = bit(24), kAmxInt8 = bit(25),
                       kAvx512Bf16 = bit(5);
    constexpr uint64_t kTileState = uint64_t{1} << 17 | uint64_t{1} << 18;
    amx = avx512_vnni && all_bits(extended.edx, kAmxBf16 | kAmxTile | kAmxInt8) &&
          all_bits(more.eax, kAvx512Bf16) && all_bits(saved, kTileState) && may_use_tiles();
  }
};

const X86Features& x86_features() {
  static const X86Features features;
  return features;
}
#endif

}  // namespace

bool cpu_always() {
  return true;
}

bool cpu_has_avx2() {
#if defined(CHATGLM_X86)
  return x86_features().avx2;
#else
  return false;
#endif
}

bool cpu_has_avx_vnni() {
#if defined(CHATGLM_X86)
  return x86_features().avx_vnni;
#else
  return false;
#endif
}

bool cpu_has_avx512_vnni() {
#if defined(CHATGLM_X86)
  return x86_features().avx512_vnni;
#else
  return false;
#endif
}

bool cpu_has_amx() {
#if defined(CHATGLM_X86)
  return x86_features().amx;
#else
  return false;
#endif
}

bool cpu_has_neon() {
#if defined(__aarch64__) && defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0;
#elif defined(__aarch64__) || defined(_M_ARM64)
  return true;  // macOS and Windows require it
#else
  return false;
#endif
}

bool cpu_has_neon_dotprod() {
#if defined(__aarch64__) && defined(__linux__)
  return cpu_has_neon() && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__aarch64__) && defined(__APPLE__)
  int has = 0;
  std::size_t size = sizeof(has);
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#elif defined(_M_ARM64) && defined(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE)
  return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE) != 0;
#else
  return false;
#endif
}

}  // namespace chatglm::kernels
