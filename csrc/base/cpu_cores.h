// How many threads computing is worth on this machine. Knows the operating systems' ways to tell.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

namespace chatglm {

// Of these processors (numbers as Linux gives them), the physical performance cores, bounded by the
// cgroup CPU quota. Reads the text files of sysfs, procfs and cgroupfs under `root` ("/"; tests
// give a folder of their own). What is missing or unreadable counts as "no restriction". At
// least 1.
int count_linux_cores(const std::filesystem::path& root, std::span<const int> processors);

// At most as many as the quota of this process's cgroup and of those above it allows to run at
// once.
int count_within_quota(const std::filesystem::path& root, int processors);

// The logical processors this process may run on (its affinity mask); empty where the system does
// not tell.
std::vector<int> usable_processors();
// How many of them, within the quota: beyond that many threads, spinning hurts.
int count_usable_processors();

}  // namespace chatglm
