// Any bytes as a GGUF file: parsed with every tensor readable, or refused with Error. Anything else
// (a crash, a sanitizer report, another exception, a hang) is a finding.
#include <cstdint>

#include "base/error.h"
#include "gguf/gguf_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  try {
    const chatglm::GgufContent content =
        chatglm::parse_gguf({reinterpret_cast<const std::byte*>(data), size}, "fuzz.gguf");
    volatile unsigned sum = 0;
    for (const chatglm::GgufTensor& tensor : content.tensors) {
      for (const std::byte byte : tensor.view.bytes()) sum = sum + std::to_integer<unsigned>(byte);
    }
  } catch (const chatglm::Error&) {
  }
  return 0;
}
