// Parses and checks the bytes of a GGUF file. Knows the format, not where the bytes come from.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/gguf_file.h"

namespace chatglm {

struct GgufContent {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file; views into the bytes
};

// Throws Error as GgufFile does; `file` names the bytes in messages.
GgufContent parse_gguf(std::span<const std::byte> bytes, const std::string& file);

}  // namespace chatglm
