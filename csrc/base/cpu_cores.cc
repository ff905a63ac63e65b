// Counts cores on Linux (from text files), macOS (sysctl) and Windows.
#include "base/cpu_cores.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/env.h"
#include "base/system_text.h"
#include "base/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif

namespace chatglm {
namespace {

namespace fs = std::filesystem;

// Hybrid x86 names its performance cores in a list; Arm gives each processor a capacity. Cores of
// less than half the largest capacity are efficiency cores.
std::vector<int> keep_performance_cores(const fs::path& root, std::span<const int> processors) {
  std::vector<int> kept;
  if (const auto list = read_first_line(root / "sys/devices/cpu_core/cpus")) {
    for (const int processor : processors) {
      if (list_contains(*list, processor)) kept.push_back(processor);
    }
  } else {
    std::map<int, int64_t> capacities;
    int64_t largest = 0;
    for (const int processor : processors) {
      const fs::path folder = root / "sys/devices/system/cpu" / ("cpu" + std::to_string(processor));
      capacities[processor] = read_number(folder / "cpu_capacity").value_or(0);
      largest = std::max(largest, capacities[processor]);
    }
    for (const auto& [processor, capacity] : capacities) {
      if (capacity >= (largest + 1) / 2) kept.push_back(processor);
    }
  }
  // A process confined to the efficiency cores computes there.
  return kept.empty() ? std::vector<int>(processors.begin(), processors.end()) : kept;
}

int count_physical(const fs::path& root, std::span<const int> processors) {
  std::set<std::string> cores;
  for (const int processor : processors) {
    const std::string name = "cpu" + std::to_string(processor);
    const fs::path topology = root / "sys/devices/system/cpu" / name / "topology";
    // Siblings of one core read the same list; a processor without one is a core of its own.
    cores.insert(read_first_line(topology / "thread_siblings_list").value_or(name));
  }
  return static_cast<int>(cores.size());
}

// quota / period of one control group; nothing where it is unlimited.
std::optional<double> read_quota(const fs::path& group) {
  std::optional<int64_t> quota_us, period_us;
  if (const auto line =
          read_first_line(group / "cpu.max")) {  // v2: "200000 100000" or "max 100000"
    const std::size_t space = line->find(' ');
    if (space == std::string::npos) return std::nullopt;
    quota_us = parse_number(std::string_view(*line).substr(0, space));
    period_us = parse_number(std::string_view(*line).substr(space + 1));
  } else {  // v1: -1 means unlimited
    quota_us = read_number(group / "cpu.cfs_quota_us");
    period_us = read_number(group / "cpu.cfs_period_us");
  }
  if (!quota_us || !period_us || *quota_us <= 0 || *period_us <= 0) return std::nullopt;
  return static_cast<double>(*quota_us) / static_cast<double>(*period_us);
}

bool is_cpu_controller(std::string_view controllers) {
  while (!controllers.empty()) {
    const std::string_view name = controllers.substr(0, controllers.find(','));
    if (name == "cpu") return true;
    controllers.remove_prefix(std::min(controllers.size(), name.size() + 1));
  }
  return false;
}

// The tightest quota of this process's control group and of those above it.
std::optional<double> cgroup_quota(const fs::path& root) {
  std::optional<double> tightest;
  std::ifstream groups(root / "proc/self/cgroup");  // lines "id:controllers:path"
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers =
        std::string_view(line).substr(first + 1, second - first - 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && !is_cpu_controller(controllers)) continue;
    // Where both versions are in use the second has a folder of its own; the first may be mounted
    // under all names of its controllers.
    for (const char* const mount :
         is_v2 ? std::array{"sys/fs/cgroup", "sys/fs/cgroup/unified"}
               : std::array{"sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"}) {
      fs::path group = fs::path(line.substr(second + 1)).relative_path();
      while (true) {
        // Inside a container the path may be the host's, which is not visible: read_quota finds
        // nothing there, and the mount itself, tried last, is the container's group.
        const std::optional<double> quota = read_quota(root / mount / group);
        if (quota && (!tightest || *quota < *tightest)) tightest = quota;
        if (group.empty()) break;
        group = group.parent_path();
      }
    }
  }
  return tightest;
}

#if defined(__APPLE__)
std::optional<int> read_sysctl(const char* name) {
  int value = 0;
  std::size_t size_bytes = sizeof(value);
  if (sysctlbyname(name, &value, &size_bytes, nullptr, 0) != 0 || value < 1) return std::nullopt;
  return value;
}
#endif

#if defined(_WIN32)
// One record per physical core; on hybrid machines only those of the highest efficiency class.
std::optional<int> count_windows_cores() {
  DWORD size_bytes = 0;
  GetLogicalProcessorInformationEx(RelationProcessorCore, nullptr, &size_bytes);
  std::vector<std::byte> records(size_bytes);
  auto* first = reinterpret_cast<SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(records.data());
  if (!GetLogicalProcessorInformationEx(RelationProcessorCore, first, &size_bytes)) {
    return std::nullopt;
  }
  std::map<int, int> count_by_class;
  for (DWORD offset = 0; offset < size_bytes;) {
    const auto* record =
        reinterpret_cast<const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX*>(records.data() + offset);
    ++count_by_class[record->Processor.EfficiencyClass];
    offset += record->Size;
  }
  if (count_by_class.empty()) return std::nullopt;
  return count_by_class.rbegin()->second;
}
#endif

}  // namespace

int count_within_quota(const fs::path& root, int processors) {
  // A part of a processor beyond whole ones would only make the threads wait for each other.
  if (const auto quota = cgroup_quota(root)) {
    processors = static_cast<int>(std::min<double>(processors, *quota));
  }
  return std::max(processors, 1);
}

int count_linux_cores(const fs::path& root, std::span<const int> processors) {
  return count_within_quota(root, count_physical(root, keep_performance_cores(root, processors)));
}

std::vector<int> usable_processors() {
  std::vector<int> processors;
#if defined(__linux__)
  for (int capacity = 1024; capacity <= 1024 * 64; capacity *= 2) {  // grows until the mask fits
    std::vector<cpu_set_t> mask(static_cast<std::size_t>(capacity) / CPU_SETSIZE);
    const std::size_t mask_bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, mask_bytes, mask.data()) != 0) continue;
    for (int processor = 0; processor < capacity; ++processor) {
      if (CPU_ISSET_S(static_cast<std::size_t>(processor), mask_bytes, mask.data())) {
        processors.push_back(processor);
      }
    }
    break;
  }
#endif
  return processors;
}

int count_usable_processors() {
#if defined(__linux__)
  if (const std::vector<int> processors = usable_processors(); !processors.empty()) {
    return count_within_quota("/", static_cast<int>(processors.size()));
  }
#endif
  return static_cast<int>(std::max(std::thread::hardware_concurrency(), 1u));
}

int default_num_threads() {
  if (const std::optional<int> forced = env::num_threads()) {
    return std::min(*forced, ThreadPool::kMaxThreads);
  }
  std::optional<int> cores;
#if defined(__linux__)
  const std::vector<int> processors = usable_processors();
  if (!processors.empty()) cores = count_linux_cores("/", processors);
#elif defined(__APPLE__)
  cores = read_sysctl("hw.perflevel0.physicalcpu");
  if (!cores) cores = read_sysctl("hw.physicalcpu");
#elif defined(_WIN32)
  cores = count_windows_cores();
#endif
  return std::clamp(cores.value_or(count_usable_processors()), 1, ThreadPool::kMaxThreads);
}

}  // namespace chatglm
