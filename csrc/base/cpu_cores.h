// How many threads computing is worth on this machine. Knows the operating systems' ways to tell.
#pragma once

#include <filesystem>
#include <span>

namespace chatglm {

// Of these processors (numbers as Linux gives them), the physical performance cores, bounded by the
// cgroup CPU quota. Reads the text files of sysfs, procfs and cgroupfs under `root` ("/"; tests
// give a folder of their own). What is missing or unreadable counts as "no restriction". At
// least 1.
int count_linux_cores(const std::filesystem::path& root, std::span<const int> processors);

// The logical processors this process may run on: beyond that many threads, spinning hurts.
int count_usable_processors();

}  // namespace chatglm
