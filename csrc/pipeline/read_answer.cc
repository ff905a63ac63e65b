#include "pipeline/read_answer.h"

#include <string>

#include "chat/text_util.h"
#include "pipeline/text_stream.h"

namespace chatglm {

ChatMessage read_answer(const Tokenizer& tokenizer, const ChatFormat& format,
                        std::span<const int32_t> ids, std::string_view text) {
  TextStream whole(tokenizer, &format, {});
  for (const int32_t id : ids) whole.push(id);
  whole.finish();

  ChatMessage message = format.parse(ids);
  if (text.size() >= whole.text().size()) return message;
  const std::string_view cut_off = strip(std::string_view(whole.text()).substr(text.size()));
  if (message.content.ends_with(cut_off)) {
    message.content.resize(message.content.size() - cut_off.size());
    message.content = std::string(strip(message.content));
  }
  return message;
}

}  // namespace chatglm
