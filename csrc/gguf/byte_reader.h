// Reads numbers and strings from untrusted bytes. Every read is checked against the end first, and
// nothing is allocated for more than the bytes that are really there. Knows no file format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace chatglm {

class ByteReader {
 public:
  // `file` is what errors name; both arguments outlive the reader.
  ByteReader(std::span<const std::byte> bytes, std::string_view file)
      : bytes_(bytes), file_(file) {}

  std::size_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  // `what` names the thing in the error where the bytes end too early.
  template <typename T>
  T read(std::string_view what) {
    static_assert(std::is_arithmetic_v<T>);
    require(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  // A 64-bit length and as many bytes. The view is into the bytes.
  std::string_view read_string(std::string_view what);

  // A 64-bit count of things that take at least min_bytes each; refused where they can't all fit.
  uint64_t read_count(uint64_t min_bytes, std::string_view what);

 private:
  void require(uint64_t size_bytes, std::string_view what) const;

  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::size_t offset_ = 0;
};

// Untrusted text for a message: quoted, control characters and non-ASCII escaped, long text cut.
std::string printable(std::string_view text);

}  // namespace chatglm
