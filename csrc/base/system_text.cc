#include "base/system_text.h"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace chatglm {

std::optional<std::string> read_first_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> read_number(const std::filesystem::path& path) {
  const std::optional<std::string> line = read_first_line(path);
  return line ? parse_number(*line) : std::nullopt;
}

bool list_contains(std::string_view list, int processor) {
  while (!list.empty()) {
    const std::string_view range = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), range.size() + 1));
    const std::size_t dash = range.find('-');
    const std::optional<int64_t> first = parse_number(range.substr(0, dash));
    const std::optional<int64_t> last =
        dash == std::string_view::npos ? first : parse_number(range.substr(dash + 1));
    if (first && last && *first <= processor && processor <= *last) return true;
  }
  return false;
}

}  // namespace chatglm
