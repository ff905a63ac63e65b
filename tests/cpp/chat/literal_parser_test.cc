// The two readers and the two writers of values; tests/python compares them with Python itself.
#include "chat/literal_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "chat/json.h"
#include "chat/number_text.h"
#include "chat/python_writer.h"

namespace chatglm {
namespace {

// The arguments as JSON, or "refused".
std::string read(std::string_view source) {
  std::optional<Object> arguments = parse_python_call(source, "tool_call");
  return arguments ? to_json(Value{std::move(*arguments)}) : "refused";
}

TEST(LiteralParser, ReadsLiterals) {
  EXPECT_EQ(read("tool_call()"), "{}");
  EXPECT_EQ(read("tool_call(a=1, b='x', c=[True, False, None],)"),
            R"({"a": 1, "b": "x", "c": [true, false, null]})");
  EXPECT_EQ(read(" tool_call (\n a = {'k': (1, 2)} # why\n) \n"), R"({"a": {"k": [1, 2]}})");
  EXPECT_EQ(read("tool_call(a=-0x1F, b=1_0, c=.5, d=1e16, e=-0.0, f=1e-5)"),
            R"({"a": -31, "b": 10, "c": 0.5, "d": 1e+16, "e": -0.0, "f": 1e-05})");
  EXPECT_EQ(read(R"(tool_call(a='\x41\101\u4f60\ud83d\ude00\n' "b"))"), R"({"a": "AA你😀\nb"})");
  EXPECT_EQ(read("tool_call(a='''x\ny''', b=(3), c=(3,))"), R"({"a": "x\ny", "b": 3, "c": [3]})");
  EXPECT_EQ(read(R"(tool_call(a="\0\x1f"))"), R"({"a": "\u0000\u001f"})");
}

TEST(LiteralParser, RefusesWhatIsNotData) {
  for (const std::string_view source :
       {"tool_call(a=x)", "tool_call(a=f())", "tool_call(1)", "tool_call(a=1, a=2)",
        "tool_call(a=1+1)", "tool_call(a=1e400)", "tool_call(a='\\ud800')", "tool_call(a=1);",
        "other(a=1)", "tool_call(a=", "tool_call", "", "tool_call(a=b'x')",
        "tool_call(a={1:2, 1:3})", "tool_call(a={1})"}) {
    EXPECT_EQ(read(source), "refused") << source;
  }
}

TEST(LiteralParser, DepthIsBounded) {
  const auto nested = [](int depth) {
    const auto n = static_cast<size_t>(depth);
    return "tool_call(a=" + std::string(n, '[') + std::string(n, ']') + ")";
  };
  EXPECT_NE(read(nested(kMaxValueDepth)), "refused");
  EXPECT_EQ(read(nested(kMaxValueDepth + 1)), "refused");
  for (const char open : {'[', '(', '{'}) {
    EXPECT_EQ(read("tool_call(a=" + std::string(1'000'000, open)), "refused");
  }
}

// Whatever is read is written and read again as the same; nothing crashes or takes long.
TEST(LiteralParser, SurvivesRandomText) {
  constexpr unsigned kSeed = 3;
  std::mt19937 random(kSeed);
  const std::string seeds[] = {
      "tool_call(location='北京', unit=\"celsius\", days=[1, 2.5e3, -3], flag=True)",
      "tool_call(a={'x': {'y': (1, None)}, 'z': '''t\n'''}, b=0xFFee, **{'a-b': u'\\u4f60'})",
      R"(tool_call(code='print("hi")\n', n=1_000.5, s='a' 'b' "c\"\\"))",
  };
  const std::string letters = "()[]{}'\"\\,:=*#.-+_ \n0123456789abcdefxuENTrue\xE4\xBD\xA0\xFF";
  int accepted = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string source = seeds[random() % 3];
    for (unsigned i = random() % 4; i > 0; --i) {
      const size_t at = random() % source.size();
      switch (random() % 4) {
        case 0:
          source[at] = letters[random() % letters.size()];
          break;
        case 1:
          source.insert(at, 1, letters[random() % letters.size()]);
          break;
        case 2:
          source.erase(at, 1 + random() % 5);
          break;
        default:
          source.insert(at, source.substr(random() % source.size(), random() % 20));
          break;
      }
      if (source.empty()) source = "t";
    }
    const std::optional<Object> arguments = parse_python_call(source, "tool_call");
    if (!arguments) continue;
    ++accepted;
    const std::string json = to_json(Value{*arguments});
    EXPECT_EQ(read(to_python_call("tool_call", *arguments)), json) << source << " seed " << kSeed;
    const std::optional<Value> again = parse_json(json);
    ASSERT_TRUE(again) << json << " seed " << kSeed;
    EXPECT_EQ(to_json(*again), json);
  }
  EXPECT_GT(accepted, 10000);
}

TEST(Json, ReadsWhatTheStandardAllows) {
  const auto round_trip = [](std::string_view text) {
    const std::optional<Value> value = parse_json(text);
    return value ? to_json(*value) : "refused";
  };
  EXPECT_EQ(round_trip(R"( {"a":[1,-0.5e+3,true,false,null,{}],"b":"\u4f60\n\/\ud83d\ude00"} )"),
            R"({"a": [1, -0.5e+3, true, false, null, {}], "b": "你\n/😀"})");
  for (const std::string_view text : {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "'x'",
                                      "01",
                                      "1.",
                                      ".5",
                                      "+1",
                                      "NaN",
                                      "Infinity",
                                      "\"\n\"",
                                      "\"\\x41\"",
                                      "\"\\ud800\"",
                                      "[1] 2",
                                      "{\"a\":1,\"a\":2}",
                                      "tru",
                                      "\"",
                                      "\"\\",
                                      "\xFF",
                                      "-",
                                      "1e"}) {
    EXPECT_EQ(round_trip(text), "refused") << text;
  }
  EXPECT_EQ(round_trip(std::string(1'000'000, '[')), "refused");
}

TEST(NumberText, RadixAndRepr) {
  EXPECT_EQ(radix_to_decimal("ff", 16), "255");
  EXPECT_EQ(radix_to_decimal("3b9aca00", 16), "1000000000");
  EXPECT_EQ(radix_to_decimal("de0b6b3a7640000", 16), "1000000000000000000");
  EXPECT_EQ(radix_to_decimal("0", 2), "0");
  EXPECT_FALSE(radix_to_decimal(std::string(kMaxRadixDigits + 1, '1'), 16));
  const std::pair<const char*, const char*> cases[] = {
      {"0.1", "0.1"},
      {"1e22", "1e+22"},
      {"1e15", "1000000000000000.0"},
      {"123456.789", "123456.789"},
      {"0.0001", "0.0001"},
      {"0.00001", "1e-05"},
      {"5e-324", "5e-324"},
      {"1.7976931348623157e308", "1.7976931348623157e+308"},
      {"3.0000000000000004", "3.0000000000000004"},
      {"2.5", "2.5"},
      {"1.", "1.0"},
      {"0e5", "0.0"}};
  for (const auto& [text, repr] : cases) EXPECT_EQ(float_repr(text), repr);
  EXPECT_FALSE(float_repr("1e309"));
}

}  // namespace
}  // namespace chatglm
