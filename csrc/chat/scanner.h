// A cursor over text, for the two small parsers of this folder.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace chatglm {

inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// 0 to 15, or -1
inline int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool at_end() const { return position_ == text_.size(); }
  // '\0' past the end; a NUL in the text never matches anything either parser asks for.
  char peek(size_t ahead = 0) const {
    return position_ + ahead < text_.size() ? text_[position_ + ahead] : '\0';
  }
  void skip(size_t count = 1) { position_ += count; }
  size_t position() const { return position_; }
  std::string_view since(size_t begin) const { return text_.substr(begin, position_ - begin); }
  std::string_view rest() const { return text_.substr(position_); }

  bool accept(std::string_view expected) {
    if (!rest().starts_with(expected)) return false;
    position_ += expected.size();
    return true;
  }

  template <typename Predicate>
  std::string_view take_while(Predicate predicate) {
    const size_t begin = position_;
    while (!at_end() && predicate(text_[position_])) ++position_;
    return since(begin);
  }

  // Exactly `digits` (at most 8) hexadecimal digits; nothing where there are fewer.
  std::optional<char32_t> take_hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = hex_digit(peek());
      if (digit < 0) return std::nullopt;
      value = value << 4 | static_cast<char32_t>(digit);
      skip();
    }
    return value;
  }

 private:
  std::string_view text_;
  size_t position_ = 0;
};

}  // namespace chatglm
