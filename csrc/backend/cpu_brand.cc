#include "backend/cpu_brand.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>

#if defined(__x86_64__) || defined(_M_X64)
#define CHATGLM_X86_64 1
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

namespace chatglm {
namespace {

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

#ifdef CHATGLM_X86_64
constexpr const char* kArchitecture = "x86-64";

std::array<uint32_t, 4> cpuid(uint32_t leaf) {
  std::array<uint32_t, 4> registers{};
#ifdef _MSC_VER
  std::array<int, 4> values{};
  __cpuid(values.data(), static_cast<int>(leaf));
  std::memcpy(registers.data(), values.data(), sizeof(registers));
#else
  __get_cpuid(leaf, &registers[0], &registers[1], &registers[2], &registers[3]);
#endif
  return registers;
}

// Leaves 0x80000002..4 hold 48 characters.
std::string system_brand() {
  if (cpuid(0x80000000u)[0] < 0x80000004u) return {};
  std::array<char, 49> text{};
  for (uint32_t i = 0; i < 3; ++i) {
    const auto registers = cpuid(0x80000002u + i);
    std::memcpy(text.data() + 16 * i, registers.data(), sizeof(registers));
  }
  return text.data();
}
#elif defined(__APPLE__)
constexpr const char* kArchitecture = "arm64";

std::string system_brand() {
  std::array<char, 128> text{};
  std::size_t size = text.size() - 1;
  if (sysctlbyname("machdep.cpu.brand_string", text.data(), &size, nullptr, 0) != 0) return {};
  return text.data();
}
#else
constexpr const char* kArchitecture = "arm64";

std::string system_brand() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == "model name") {
      return line.substr(colon + 1);
    }
  }
  return {};
}
#endif

}  // namespace

std::string cpu_brand() {
  const std::string brand = trimmed(system_brand());
  return brand.empty() ? std::string(kArchitecture) + " processor" : brand;
}

}  // namespace chatglm
