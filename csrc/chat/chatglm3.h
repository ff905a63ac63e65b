// The prompt format of ChatGLM3.
//
//   [gMASK] sop  {<|role|> encode(metadata "\n") encode(content)}  <|assistant|>
//
// The two texts of a message are encoded each for itself; nothing stands between messages, and a
// role is a token, never text, so no text can pretend to be a message. The model answers "\n" and a
// text, or the name of a tool, "\n" and a program in a ``` fence; <|assistant|> begins another part
// of the answer.
#pragma once

#include <memory>
#include <string>

#include "chat/chat_format.h"

namespace chatglm {

bool has_chatglm3_roles(const Tokenizer& tokenizer);

// `tokenizer` outlives the format.
// Throws Error{kModelFile, where} where the tokenizer lacks one of the special tokens.
std::unique_ptr<ChatFormat> make_chatglm3_format(const Tokenizer& tokenizer,
                                                 const std::string& where);

}  // namespace chatglm
