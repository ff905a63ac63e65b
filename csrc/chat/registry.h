// The chat formats there are, for load_chat_format and for tests that walk them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "chat/chat_format.h"

namespace chatglm {

struct ChatFormatKind {
  std::string_view name;  // value of chatglm_cpp.chat_format
  // Whether a tokenizer's special tokens are this format's, for files that do not name one.
  bool (*detect)(const Tokenizer& tokenizer);
  std::unique_ptr<ChatFormat> (*make)(const Tokenizer& tokenizer, const std::string& where);
};

std::span<const ChatFormatKind> chat_format_kinds();

// By name; "none" gives nullptr, "" asks the tokenizer's special tokens. `where` is for errors.
// Throws Error{kUnsupportedModel} for an unknown name, Error{kModelFile} where special tokens are
// missing.
std::unique_ptr<ChatFormat> make_chat_format(std::string_view name, const Tokenizer& tokenizer,
                                             const std::string& where);

}  // namespace chatglm
