// The small text files in which Linux describes the machine (sysfs, procfs, cgroupfs).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace chatglm {

// Nothing where there is no such file or it is empty.
std::optional<std::string> read_first_line(const std::filesystem::path& path);

// Nothing where the text is not a number and nothing else.
std::optional<int64_t> parse_number(std::string_view text);
// The first line of a file as a number.
std::optional<int64_t> read_number(const std::filesystem::path& path);

// "0-3,8,10-11", the kernel's form of a processor list, tested for one number.
bool list_contains(std::string_view list, int processor);

}  // namespace chatglm
