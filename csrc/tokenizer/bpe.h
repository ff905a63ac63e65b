// Byte-pair merging exactly as SentencePiece's BPE model does it: text into pieces, best score
// first. Knows pieces and scores only; spaces, byte fallback and special tokens are its caller's
// business.
//
// Reference for the behaviour: https://github.com/google/sentencepiece (src/bpe_model.cc).
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace chatglm {

class BpeModel {
 public:
  enum class PieceKind : uint8_t {
    kNormal,
    kUserDefined,  // found in the text first, longest match, and never merged
    kUnused,       // takes part in merging, and is taken apart again at the end
  };
  static constexpr int32_t kUnknown = -1;
  struct Token {
    std::string_view text;
    int32_t id;  // kUnknown: no such piece
  };

  // `text` outlives the model and is not empty. False where the piece is there already.
  bool add(std::string_view text, int32_t id, float score, PieceKind kind);

  // `text` is valid UTF-8 and outlives the result. Time O(n log n), memory O(n).
  // Throws Error{kInvalidArgument} above kMaxTextBytes.
  static constexpr size_t kMaxTextBytes = size_t{1} << 30;
  std::vector<Token> segment(std::string_view text) const;

 private:
  struct Piece {
    int32_t id;
    float score;
    PieceKind kind;
  };
  struct Merger;

  const Piece* find(std::string_view text) const;
  void add_to_trie(std::string_view text);
  size_t match_user_defined(std::string_view text) const;  // bytes, 0: no match

  std::unordered_map<std::string_view, Piece> pieces_;
  // Trie of the user-defined pieces: (node << 8 | byte) -> node; node 0 is the root.
  std::unordered_map<uint64_t, uint32_t> trie_edges_;
  std::vector<bool> trie_ends_piece_;  // by node
};

}  // namespace chatglm
