// A generated answer as a message.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "chat/chat_format.h"
#include "tokenizer/tokenizer.h"

namespace chatglm {

// ids: all that was generated. text: what was handed out of it as text, which is less where a stop
// string ended the answer; the message is cut there, too.
ChatMessage read_answer(const Tokenizer& tokenizer, const ChatFormat& format,
                        std::span<const int32_t> ids, std::string_view text);

}  // namespace chatglm
