// The tokenizer of ChatGLM2, ChatGLM3 and CodeGeeX2: SentencePiece BPE with byte fallback, and the
// special tokens that follow the plain vocabulary. Text is taken as it is: no normalization, no
// collapsing of spaces.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace chatglm {

// sentencepiece's numbering, which GGUF took over.
enum class SentencePieceType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// What a model file says about the tokenizer; nothing of it is trusted yet.
struct SentencePieceVocab {
  // By id, all of the same length. A piece spells a space as U+2581, a byte as "<0x41>"; padding is
  // kUnused with the text "[PAD<id>]" or none.
  std::vector<std::string> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;
  bool add_dummy_prefix = true;
  std::vector<int32_t> eos_ids;
};

// Throws Error{kModelFile, where}: says which entry of which list is wrong.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(SentencePieceVocab vocab,
                                                        const std::string& where);

// Reads tokenizer.ggml.* of a file whose tokenizer.ggml.model is "llama".
SentencePieceVocab read_sentencepiece_vocab(const GgufFile& file);

}  // namespace chatglm
