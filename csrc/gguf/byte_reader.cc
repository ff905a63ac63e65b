// Bounds checks and their sentences.
#include "gguf/byte_reader.h"

#include "base/error.h"

namespace chatglm {

std::string_view ByteReader::read_string(std::string_view what) {
  const uint64_t length = read_count(1, what);
  const std::string_view text(reinterpret_cast<const char*>(bytes_.data() + offset_),
                              static_cast<std::size_t>(length));
  offset_ += text.size();
  return text;
}

uint64_t ByteReader::read_count(uint64_t min_bytes, std::string_view what) {
  const uint64_t count = read<uint64_t>(what);
  if (count > remaining() / min_bytes) {
    throw Error(ErrorKind::kModelFile,
                "the file is damaged or truncated: the length of " + std::string(what) +
                    " is given as " + std::to_string(count) + ", but only " +
                    std::to_string(remaining()) + " bytes follow at offset " +
                    std::to_string(offset_),
                std::string(file_));
  }
  return count;
}

void ByteReader::require(uint64_t size_bytes, std::string_view what) const {
  if (size_bytes <= remaining()) return;
  throw Error(ErrorKind::kModelFile,
              "the file is truncated: expected " + std::to_string(size_bytes) + " bytes of " +
                  std::string(what) + " at offset " + std::to_string(offset_) + ", found " +
                  std::to_string(remaining()),
              std::string(file_));
}

std::string printable(std::string_view text) {
  constexpr std::size_t kMaxShown = 80;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "'";
  for (const char character : text.substr(0, kMaxShown)) {
    const unsigned char byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7f) {
      result += character;
    } else {
      result += "\\x";
      result += kHex[byte >> 4];
      result += kHex[byte & 0xf];
    }
  }
  return result + (text.size() > kMaxShown ? "...'" : "'");
}

}  // namespace chatglm
