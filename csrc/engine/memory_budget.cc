// See memory_budget.h. On Linux the smallest of what the machine and every control group above this
// process have left; a group's file cache counts as free, because it is given up under pressure.
#include "engine/memory_budget.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#if defined(_WIN32)
#include <windows.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace chatglm {
namespace {

constexpr int64_t kGuessBytes = int64_t{2} << 30;
constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
// The cache is never smaller than a conversation of this length, nor (memory permitting) than this.
constexpr int64_t kReasonableTokens = 2048;
constexpr int64_t kSmallModelBytes = int64_t{64} << 20;
// A device decodes many sequences at once; more of full length than this it need not hold.
constexpr int64_t kDeviceSequences = 64;

int64_t saturating_product(int64_t a, int64_t b) {
  return a > kUnlimited / b ? kUnlimited : a * b;
}

#if defined(__linux__)

namespace fs = std::filesystem;

// The number that follows `key` in a file of lines "key number ...".
std::optional<int64_t> read_field(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    int64_t value = 0;
    if (fields >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

// "max" and anything else that is no number: nothing.
std::optional<int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

int64_t left_in_group(const fs::path& group, const char* limit_file, const char* usage_file,
                      std::string_view cache_field) {
  const std::optional<int64_t> limit = read_number(group / limit_file);
  const std::optional<int64_t> usage = read_number(group / usage_file);
  if (!limit || !usage) return kUnlimited;
  const int64_t cache = read_field(group / "memory.stat", cache_field).value_or(0);
  return std::max<int64_t>(0, *limit - *usage + cache);
}

// /proc/self/cgroup has lines "id:controllers:path"; version 2 has no controllers. The root is
// looked at too: inside a container it is the container's own group.
int64_t left_in_control_groups() {
  int64_t left = kUnlimited;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && controllers != "memory") continue;
    const fs::path root = is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (fs::path path = line.substr(second + 1);; path = path.parent_path()) {
      const fs::path group = root / path.relative_path();
      left = std::min(left,
                      is_v2 ? left_in_group(group, "memory.max", "memory.current", "inactive_file")
                            : left_in_group(group, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                            "total_inactive_file"));
      if (!path.has_relative_path()) break;
    }
  }
  return left;
}

#endif

}  // namespace

int64_t available_memory_bytes() {
#if defined(__linux__)
  const std::optional<int64_t> available_kib = read_field("/proc/meminfo", "MemAvailable:");
  const int64_t machine = available_kib ? *available_kib * 1024 : kGuessBytes;
  return std::min(machine, left_in_control_groups());
#elif defined(__APPLE__)
  int64_t total = 0;
  std::size_t size = sizeof(total);
  if (sysctlbyname("hw.memsize", &total, &size, nullptr, 0) == 0) return total / 2;
  return kGuessBytes;
#elif defined(_WIN32)
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof(status);
  if (GlobalMemoryStatusEx(&status)) return static_cast<int64_t>(status.ullAvailPhys);
  return kGuessBytes;
#else
  return kGuessBytes;
#endif
}

int64_t available_memory_bytes(const Backend& backend) {
  const std::optional<int64_t> of_device = backend.free_memory_bytes();
  return of_device ? *of_device : available_memory_bytes();
}

int64_t default_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                                int64_t available_bytes) {
  auto bytes_for = [=](int64_t tokens) {
    return saturating_product((tokens - 1) / page_tokens + 1, page_bytes);
  };
  const int64_t wanted = std::max(bytes_for(max_length), kSmallModelBytes);
  const int64_t least = bytes_for(std::min(max_length, kReasonableTokens));
  return std::max(least, std::min(wanted, available_bytes / 2));
}

int64_t device_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                               int64_t free_bytes) {
  const int64_t one_sequence = saturating_product((max_length - 1) / page_tokens + 1, page_bytes);
  return std::max(default_kv_budget_bytes(page_bytes, page_tokens, max_length, free_bytes),
                  std::min(free_bytes / 4 * 3, saturating_product(one_sequence, kDeviceSequences)));
}

int64_t default_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                                const Backend& backend) {
  const std::optional<int64_t> free_bytes = backend.free_memory_bytes();
  return free_bytes ? device_kv_budget_bytes(page_bytes, page_tokens, max_length, *free_bytes)
                    : default_kv_budget_bytes(page_bytes, page_tokens, max_length,
                                              available_memory_bytes());
}

int64_t default_kv_pages(std::span<const PageShare> shares, int64_t page_tokens,
                         int64_t max_length) {
  std::map<const Backend*, int64_t> page_bytes;
  for (const PageShare& share : shares) page_bytes[share.backend] += share.bytes;
  int64_t pages = kUnlimited;
  for (const auto& [backend, bytes] : page_bytes) {
    const int64_t budget = default_kv_budget_bytes(bytes, page_tokens, max_length, *backend);
    pages = std::min(pages, budget / bytes);
  }
  return pages;
}

}  // namespace chatglm
