// Fills a SentencePieceVocab from the metadata of a model file, ours or one of llama.cpp's
// converter.
#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"
#include "tokenizer/sentencepiece.h"

namespace chatglm {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kAddSpacePrefix = "tokenizer.ggml.add_space_prefix";
constexpr std::string_view kRemoveExtraWhitespaces = "tokenizer.ggml.remove_extra_whitespaces";
constexpr std::string_view kCharsMap = "tokenizer.ggml.precompiled_charsmap";
constexpr std::string_view kEosIds = "chatglm_cpp.eos_token_ids";

std::string at_key(const GgufFile& file, std::string_view key) {
  return file.path().string() + ": " + std::string(key);
}

template <typename T>
const std::vector<T>& required_list(const GgufFile& file, std::string_view key) {
  const auto* list = file.find_pointer<std::vector<T>>(key);
  if (list == nullptr) {
    throw Error(ErrorKind::kModelFile, "the key is missing; a SentencePiece tokenizer needs it",
                at_key(file, key));
  }
  return *list;
}

// Ids become int32; what does not fit becomes -1, which no vocabulary has.
int32_t narrow_id(int64_t id) {
  return id >= 0 && id <= INT32_MAX ? static_cast<int32_t>(id) : -1;
}

std::optional<int32_t> find_control(const SentencePieceVocab& vocab, std::string_view name) {
  const size_t count = std::min(vocab.pieces.size(), vocab.types.size());
  for (size_t id = 0; id < count; ++id) {
    if (vocab.types[id] == static_cast<int32_t>(SentencePieceType::kControl) &&
        vocab.pieces[id] == name) {
      return static_cast<int32_t>(id);
    }
  }
  return std::nullopt;
}

// Our own key lists every id. Files of other converters name one or two; ChatGLM3 also ends its
// turn with the role of whoever speaks next, which no standard key says.
std::vector<int32_t> read_eos_ids(const GgufFile& file, const SentencePieceVocab& vocab) {
  std::vector<int32_t> ids;
  const auto add = [&ids](std::optional<int32_t> id) {
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  };
  if (const auto* list = file.find_pointer<std::vector<int64_t>>(kEosIds)) {
    for (const int64_t id : *list) add(narrow_id(id));
    return ids;
  }
  for (const std::string_view key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (const auto id = file.find<int64_t>(key)) add(narrow_id(*id));
  }
  if (ids.empty()) {
    add(find_control(vocab, "</s>"));
    add(find_control(vocab, "<eos>"));  // the name llama.cpp's converter gives to the same id
  }
  add(find_control(vocab, "<|user|>"));
  add(find_control(vocab, "<|observation|>"));
  return ids;
}

}  // namespace

SentencePieceVocab read_sentencepiece_vocab(const GgufFile& file) {
  if (file.find<bool>(kRemoveExtraWhitespaces).value_or(false)) {
    throw Error(ErrorKind::kUnsupportedModel,
                "a tokenizer that collapses spaces is not one of the ChatGLM family's",
                at_key(file, kRemoveExtraWhitespaces));
  }
  if (file.contains(kCharsMap)) {
    throw Error(ErrorKind::kUnsupportedModel,
                "a tokenizer that normalizes characters is not supported yet",
                at_key(file, kCharsMap));
  }
  SentencePieceVocab vocab;
  vocab.pieces = required_list<std::string>(file, kTokens);
  for (const double score : required_list<double>(file, kScores)) {
    vocab.scores.push_back(static_cast<float>(score));
  }
  for (const int64_t type : required_list<int64_t>(file, kTypes)) {
    vocab.types.push_back(narrow_id(type));
  }
  vocab.add_dummy_prefix = file.find<bool>(kAddSpacePrefix).value_or(true);
  vocab.eos_ids = read_eos_ids(file, vocab);
  return vocab;
}

}  // namespace chatglm
