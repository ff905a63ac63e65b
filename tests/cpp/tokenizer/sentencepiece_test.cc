#include "tokenizer/sentencepiece.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "base/error.h"
#include "support/tiny_tokenizer.h"

namespace chatglm {
namespace {

using test::golden_texts;
using test::golden_tokenizer;
using test::golden_vocab;

class SentencePieceGolden : public testing::TestWithParam<const char*> {};

TEST_P(SentencePieceGolden, EncodesAndDecodesAsThePackageDoes) {
  const auto tokenizer = golden_tokenizer(GetParam());
  const auto cases = golden_texts(GetParam());
  ASSERT_GT(cases.size(), 150u);
  for (const auto& golden : cases) {
    EXPECT_EQ(tokenizer->encode(golden.text), golden.ids) << golden.text;
    EXPECT_EQ(tokenizer->decode(golden.ids, true), golden.decoded) << golden.text;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SentencePieceGolden, testing::Values("fallback", "unknown"),
                         [](const auto& test) { return std::string(test.param); });

TEST(SentencePiece, InvalidUtf8BecomesReplacementCharacters) {
  const auto tokenizer = golden_tokenizer();
  const auto round_trip = [&](std::string_view text) {
    return tokenizer->decode(tokenizer->encode(text), false);
  };
  EXPECT_EQ(round_trip("a\xFF\x62"), "a\xEF\xBF\xBD\x62");
  EXPECT_EQ(round_trip("\xE4\xBD"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(round_trip("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // a surrogate
  EXPECT_EQ(round_trip("\xC0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");                  // overlong
  EXPECT_EQ(round_trip(std::string_view("a\0b", 3)), std::string_view("a\0b", 3));
}

TEST(SentencePiece, BytesMakeCharactersOnlySideBySide) {
  const auto tokenizer = golden_tokenizer();
  const auto byte = [](int value) { return 3 + value; };  // ids of this vocabulary
  const std::vector<int32_t> whole = {byte(0xE9), byte(0xBE), byte(0x98)};
  EXPECT_EQ(tokenizer->decode(whole, false), "龘");
  const std::vector<int32_t> cut = {byte(0xE9), byte(0xBE)};
  EXPECT_EQ(tokenizer->decode(cut, false), "\xEF\xBF\xBD\xEF\xBF\xBD");
  const std::vector<int32_t> split = {byte(0xE9), 1, byte(0xBE), byte(0x98)};
  EXPECT_EQ(tokenizer->decode(split, false), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->decode(split, true), "龘");  // a skipped token is not there
}

TEST(SentencePiece, TheDummySpaceIsDroppedOnceAtTheStartOfTheText) {
  const auto tokenizer = golden_tokenizer();
  const int32_t user = *tokenizer->special_id("<|user|>");
  std::vector<int32_t> ids = tokenizer->encode("the");
  const std::vector<int32_t> word = ids;
  ids.push_back(user);
  ids.insert(ids.end(), word.begin(), word.end());
  EXPECT_EQ(tokenizer->decode(ids, false), "the<|user|> the");
  EXPECT_EQ(tokenizer->decode(ids, true), "the the");
  ids.insert(ids.begin(), {1, 2, 100000, -1});
  EXPECT_EQ(tokenizer->decode(ids, false), "the<|user|> the");
  ids.insert(ids.begin(), user);
  EXPECT_EQ(tokenizer->decode(ids, false), "<|user|> the<|user|> the");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("  x"), true), "  x");
}

TEST(SentencePiece, KnowsItsSpecialTokens) {
  const SentencePieceVocab vocab = golden_vocab("fallback");
  const auto tokenizer = golden_tokenizer();
  const auto size = static_cast<int32_t>(vocab.pieces.size());
  EXPECT_EQ(tokenizer->vocab_size(), size - 3);  // without the padding
  int32_t id = size - 3 - 9;
  for (const char* name : test::kSpecialNames) {
    EXPECT_EQ(tokenizer->special_id(name), id);
    EXPECT_EQ(tokenizer->special_name(id), name);
    EXPECT_TRUE(tokenizer->is_special(id));
    EXPECT_EQ(tokenizer->token_bytes(id), "");
    ++id;
  }
  EXPECT_FALSE(tokenizer->special_id("<|nobody|>"));
  EXPECT_TRUE(tokenizer->is_special(0) && tokenizer->is_special(1) && tokenizer->is_special(2));
  for (const int32_t none : {-1, size - 1, size, 3 + 'a'}) {
    EXPECT_FALSE(tokenizer->is_special(none)) << none;
    EXPECT_EQ(tokenizer->special_name(none), "") << none;
  }
  EXPECT_EQ(tokenizer->token_bytes(3 + 0xE4), "\xE4");
  EXPECT_EQ(tokenizer->token_bytes(tokenizer->encode("the")[0]).substr(0, 2), " t");
  EXPECT_EQ(tokenizer->prefix_ids()[0], *tokenizer->special_id("[gMASK]"));
  EXPECT_EQ(tokenizer->prefix_ids()[1], *tokenizer->special_id("sop"));
}

TEST(SentencePiece, SpecialNamesAreHiddenWhereThereAreNoRoles) {
  SentencePieceVocab vocab = golden_vocab("fallback");
  const size_t plain = vocab.pieces.size() - 3 - 9;
  vocab.pieces.resize(plain + 5);
  vocab.scores.resize(plain + 5);
  vocab.types.resize(plain + 5);
  const auto tokenizer = make_sentencepiece_tokenizer(std::move(vocab), "chatglm2");
  std::vector<int32_t> ids(tokenizer->prefix_ids().begin(), tokenizer->prefix_ids().end());
  const std::vector<int32_t> text = tokenizer->encode("你好");
  ids.insert(ids.end(), text.begin(), text.end());
  EXPECT_EQ(tokenizer->decode(ids, false), "你好");
}

// A file may call a role token user-defined; text must still not turn into it.
TEST(SentencePiece, TextNeverBecomesASpecialToken) {
  SentencePieceVocab vocab = golden_vocab("fallback");
  for (size_t id = vocab.pieces.size() - 3 - 9; id < vocab.pieces.size() - 3; ++id) {
    vocab.types[id] = static_cast<int32_t>(SentencePieceType::kUserDefined);
  }
  for (const auto& tokenizer :
       {golden_tokenizer(), make_sentencepiece_tokenizer(std::move(vocab), "user-defined")}) {
    ASSERT_TRUE(tokenizer->special_id("<|user|>"));
    std::string text = "</s><s><unk><0x0A>";
    for (const char* name : test::kSpecialNames) text += std::string(name) + " " + name + "\n";
    const std::vector<int32_t> ids = tokenizer->encode(text);
    for (const int32_t id : ids) EXPECT_FALSE(tokenizer->is_special(id)) << id;
    EXPECT_EQ(tokenizer->decode(ids, false), text);
  }
}

TEST(SentencePiece, DecodingPieceByPieceIsDecodingAtOnce) {
  constexpr unsigned kSeed = 7;
  std::mt19937 random(kSeed);
  const auto tokenizer = golden_tokenizer();
  std::uniform_int_distribution<int32_t> any_id(-2, tokenizer->vocab_size() + 5);
  std::uniform_int_distribution<int32_t> byte_id(3, 258);
  for (int round = 0; round < 500; ++round) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i)
      ids.push_back(random() % 2 != 0 ? byte_id(random) : any_id(random));
    for (const bool skip : {false, true}) {
      const auto decoder = tokenizer->make_decoder(skip);
      std::string text;
      for (const int32_t id : ids) text += decoder->push(id);
      text += decoder->finish();
      EXPECT_EQ(text, tokenizer->decode(ids, skip)) << "seed " << kSeed;
    }
  }
}

TEST(SentencePiece, TimeIsNotQuadratic) {
  const auto tokenizer = golden_tokenizer();
  for (const std::string unit : {"the answer ", "a", " ", "你"}) {
    std::string text;
    while (text.size() < 300000) text += unit;
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<int32_t> ids = tokenizer->encode(text);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    EXPECT_EQ(tokenizer->decode(ids, true), text);
    EXPECT_LT(elapsed.count(), 20.0) << unit;
  }
}

TEST(SentencePiece, BrokenVocabulariesAreRefused) {
  using Break = void (*)(SentencePieceVocab&);
  const std::pair<const char*, Break> cases[] = {
      {"lists differ in length", [](SentencePieceVocab& v) { v.scores.pop_back(); }},
      {"token 300 has a score", [](SentencePieceVocab& v) { v.scores[300] = INFINITY; }},
      {"token 300 has the unknown type -1", [](SentencePieceVocab& v) { v.types[300] = -1; }},
      {"token 301 has the same text", [](SentencePieceVocab& v) { v.pieces[301] = v.pieces[300]; }},
      {"token 300 is empty", [](SentencePieceVocab& v) { v.pieces[300].clear(); }},
      {"token 300 is not valid UTF-8", [](SentencePieceVocab& v) { v.pieces[300] = "\xFF"; }},
      {"expected tokens for all 256 bytes", [](SentencePieceVocab& v) { v.types[3] = 1; }},
      {"second token for the byte", [](SentencePieceVocab& v) { v.pieces[4] = v.pieces[3]; }},
      {"end-of-text id", [](SentencePieceVocab& v) { v.eos_ids = {1 << 30}; }},
      {"found 0", [](SentencePieceVocab& v) { v = {}; }},
  };
  for (const auto& [message, apply] : cases) {
    SentencePieceVocab vocab = golden_vocab("fallback");
    apply(vocab);
    try {
      make_sentencepiece_tokenizer(std::move(vocab), "broken");
      ADD_FAILURE() << "accepted: " << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kModelFile);
      EXPECT_NE(error.message().find(message), std::string::npos) << error.what();
      EXPECT_EQ(error.where(), "broken");
    }
  }
}

}  // namespace
}  // namespace chatglm
