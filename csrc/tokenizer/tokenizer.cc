#include "tokenizer/tokenizer.h"

namespace chatglm {

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  const std::unique_ptr<TokenDecoder> decoder = make_decoder(skip_special_tokens);
  std::string text;
  for (const int32_t id : ids) text += decoder->push(id);
  text += decoder->finish();
  return text;
}

}  // namespace chatglm
