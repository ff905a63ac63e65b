#include "chat/literal_parser.h"

#include <set>
#include <utility>

#include "chat/number_text.h"
#include "chat/scanner.h"
#include "chat/text_util.h"
#include "tokenizer/utf8.h"

namespace chatglm {
namespace {

// Python's own limit on the digits of an integer written out (sys.int_info).
constexpr size_t kMaxIntegerDigits = 4300;

// Every parse_* returns nothing where the text is not what it asks for; then the whole call is not
// one.
class CallParser {
 public:
  explicit CallParser(std::string_view source) : in_(source) {}

  std::optional<Object> parse_call(std::string_view function) {
    skip_space();
    if (!in_.accept(function)) return std::nullopt;
    skip_space();
    if (!in_.accept("(")) return std::nullopt;
    Object arguments;
    std::set<std::string, std::less<>> names;
    const bool ok = parse_items(')', [&] { return parse_argument(arguments, names); });
    skip_space();
    if (!ok || !in_.at_end()) return std::nullopt;
    return arguments;
  }

 private:
  void skip_space() {
    while (true) {
      in_.take_while(
          [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; });
      if (in_.peek() != '#') return;
      in_.take_while([](char c) { return c != '\n'; });
    }
  }

  // item {, item} [,] close
  template <typename ParseItem>
  bool parse_items(char close, ParseItem parse_item) {
    while (true) {
      skip_space();
      if (in_.accept({&close, 1})) return true;
      if (!parse_item()) return false;
      skip_space();
      if (in_.accept(",")) continue;
      return in_.accept({&close, 1});
    }
  }

  bool parse_argument(Object& arguments, std::set<std::string, std::less<>>& names) {
    if (in_.accept("**")) {
      skip_space();
      if (in_.peek() != '{') return false;
      std::optional<Value> members = parse_value(1);
      if (!members) return false;
      for (Member& member : std::get<Object>(members->data)) {
        if (!names.insert(member.name).second) return false;
        arguments.push_back(std::move(member));
      }
      return true;
    }
    if (!is_identifier_start(in_.peek())) return false;
    std::string name(in_.take_while(is_identifier_part));
    skip_space();
    if (!in_.accept("=")) return false;
    std::optional<Value> value = parse_value(1);
    if (!value || !names.insert(name).second) return false;
    arguments.push_back({std::move(name), std::move(*value)});
    return true;
  }

  std::optional<Value> parse_value(int depth) {
    if (depth > kMaxValueDepth) return std::nullopt;
    skip_space();
    const char c = in_.peek();
    if (c == '[') return parse_list(depth);
    if (c == '(') return parse_parentheses(depth);
    if (c == '{') return parse_dict(depth);
    if (is_digit(c) || c == '.' || c == '-' || c == '+') return parse_number();
    if (c == '\'' || c == '"') return parse_strings();
    const bool unicode_prefix = c == 'u' || c == 'U';
    if (unicode_prefix && (in_.peek(1) == '\'' || in_.peek(1) == '"')) return parse_strings();
    return parse_constant();
  }

  std::optional<Value> parse_constant() {
    const std::string_view word = in_.take_while(is_identifier_part);
    if (word == "True") return Value{true};
    if (word == "False") return Value{false};
    if (word == "None") return Value{nullptr};
    return std::nullopt;
  }

  std::optional<Value> parse_list(int depth) {
    in_.skip();
    std::vector<Value> items;
    if (!parse_items(']', [&] { return parse_item(items, depth); })) return std::nullopt;
    return Value{std::move(items)};
  }

  bool parse_item(std::vector<Value>& items, int depth) {
    std::optional<Value> item = parse_value(depth + 1);
    if (item) items.push_back(std::move(*item));
    return item.has_value();
  }

  // A tuple, or one value in parentheses: the comma makes the tuple.
  std::optional<Value> parse_parentheses(int depth) {
    in_.skip();
    std::vector<Value> items;
    bool comma = false;
    while (true) {
      skip_space();
      if (in_.accept(")")) break;
      if (!items.empty() && !comma) return std::nullopt;
      if (!parse_item(items, depth)) return std::nullopt;
      skip_space();
      comma = in_.accept(",");
    }
    if (items.size() == 1 && !comma) return std::move(items[0]);
    return Value{std::move(items)};
  }

  std::optional<Value> parse_dict(int depth) {
    in_.skip();
    Object members;
    std::set<std::string, std::less<>> names;
    const auto parse_member = [&] {
      const std::optional<Value> key = parse_value(depth + 1);
      if (!key) return false;
      std::optional<std::string> name = key_name(*key);
      skip_space();
      if (!name || !in_.accept(":")) return false;
      std::optional<Value> value = parse_value(depth + 1);
      if (!value || !names.insert(*name).second) return false;
      members.push_back({std::move(*name), std::move(*value)});
      return true;
    };
    if (!parse_items('}', parse_member)) return std::nullopt;
    return Value{std::move(members)};
  }

  // json.dumps() turns keys into strings the same way.
  static std::optional<std::string> key_name(const Value& key) {
    if (const auto* text = std::get_if<std::string>(&key.data)) return *text;
    if (const auto* number = std::get_if<Number>(&key.data)) return number->text;
    if (const auto* boolean = std::get_if<bool>(&key.data)) return *boolean ? "true" : "false";
    if (std::holds_alternative<std::nullptr_t>(key.data)) return "null";
    return std::nullopt;
  }

  std::optional<Value> parse_number() {
    const bool negative = in_.peek() == '-';
    if (negative || in_.peek() == '+') {
      in_.skip();
      skip_space();
    }
    std::optional<std::string> text = parse_unsigned_number();
    // 12abc, 1.2.3 and 1j are no numbers.
    if (!text || is_identifier_part(in_.peek()) || in_.peek() == '.') return std::nullopt;
    Number number;
    if (negative && *text != "0") number.text += '-';
    number.text += *text;
    return Value{std::move(number)};
  }

  std::optional<std::string> parse_unsigned_number() {
    if (in_.peek() == '0') {
      switch (in_.peek(1)) {
        case 'x':
        case 'X':
          return parse_radix(16);
        case 'o':
        case 'O':
          return parse_radix(8);
        case 'b':
        case 'B':
          return parse_radix(2);
        default:
          break;
      }
    }
    std::string text;
    if (!parse_digits(10, text)) return std::nullopt;
    const size_t integer_digits = text.size();
    bool is_float = false;
    if (in_.accept(".")) {
      is_float = true;
      text += '.';
      if (!parse_digits(10, text) || text.size() == 1) return std::nullopt;
    }
    if (!text.empty() && (in_.peek() == 'e' || in_.peek() == 'E')) {
      is_float = true;
      in_.skip();
      text += 'e';
      if (in_.peek() == '-' || in_.peek() == '+') {
        text += in_.peek();
        in_.skip();
      }
      const size_t before = text.size();
      if (!parse_digits(10, text) || text.size() == before) return std::nullopt;
    }
    if (is_float) return float_repr(text);
    if (text.empty() || integer_digits > kMaxIntegerDigits) return std::nullopt;
    const size_t leading_zeros = text.find_first_not_of('0');
    if (leading_zeros == std::string::npos) return "0";  // 00 is allowed, 01 is not
    return leading_zeros == 0 ? std::optional(text) : std::nullopt;
  }

  std::optional<std::string> parse_radix(int base) {
    in_.skip(2);
    in_.accept("_");
    std::string digits;
    if (!parse_digits(base, digits) || digits.empty()) return std::nullopt;
    return radix_to_decimal(digits, base);
  }

  // Appends digits without their underscores, each of which stands between two digits.
  bool parse_digits(int base, std::string& out) {
    while (true) {
      const int digit = hex_digit(in_.peek());
      if (digit < 0 || digit >= base) return true;
      out += in_.peek();
      in_.skip();
      if (in_.peek() == '_') {
        in_.skip();
        const int next = hex_digit(in_.peek());
        if (next < 0 || next >= base) return false;
      }
    }
  }

  // One string or several that stand side by side.
  std::optional<Value> parse_strings() {
    std::string text;
    while (true) {
      const char c = in_.peek();
      const bool unicode_prefix = c == 'u' || c == 'U';
      const char quote = unicode_prefix ? in_.peek(1) : c;
      if (quote != '\'' && quote != '"') break;
      if (unicode_prefix) in_.skip();
      if (!parse_string(quote, text)) return std::nullopt;
      skip_space();
    }
    return Value{std::move(text)};
  }

  bool parse_string(char quote, std::string& out) {
    const std::string triple(3, quote);
    const bool is_triple = in_.accept(triple);
    if (!is_triple) in_.skip();
    while (!in_.at_end()) {
      if (is_triple ? in_.accept(triple) : in_.accept({&quote, 1})) return true;
      const char c = in_.peek();
      in_.skip();
      if (c == '\\') {
        if (!parse_escape(out)) return false;
      } else if (c == '\n' && !is_triple) {
        return false;
      } else {
        out += c;
      }
    }
    return false;
  }

  bool parse_escape(std::string& out) {
    if (in_.at_end()) return false;
    const char c = in_.peek();
    if (c >= '0' && c <= '7') {
      char32_t value = 0;
      for (int i = 0; i < 3 && in_.peek() >= '0' && in_.peek() <= '7'; ++i) {
        value = value * 8 + static_cast<char32_t>(in_.peek() - '0');
        in_.skip();
      }
      utf8::append(out, value);
      return true;
    }
    in_.skip();
    switch (c) {
      case '\n':
        return true;
      case '\\':
      case '\'':
      case '"':
        out += c;
        return true;
      case 'a':
        out += '\a';
        return true;
      case 'b':
        out += '\b';
        return true;
      case 'f':
        out += '\f';
        return true;
      case 'n':
        out += '\n';
        return true;
      case 'r':
        out += '\r';
        return true;
      case 't':
        out += '\t';
        return true;
      case 'v':
        out += '\v';
        return true;
      case 'x':
        return parse_code_point(2, out);
      case 'u':
        return parse_code_point(4, out);
      case 'U':
        return parse_code_point(8, out);
      case 'N':  // needs the table of character names
        return false;
      default:  // Python keeps the backslash of an escape it does not know
        out += '\\';
        out += c;
        return true;
    }
  }

  // A surrogate pair, as JSON writes a character beyond U+FFFF, is taken as that character (Python
  // would keep two halves, which no text can hold); half a pair is refused.
  bool parse_code_point(int digits, std::string& out) {
    std::optional<char32_t> value = in_.take_hex(digits);
    if (value && utf8::is_high_surrogate(*value) && in_.accept("\\u")) {
      value = utf8::join_surrogates(*value, in_.take_hex(4).value_or(0));
    }
    if (!value || !utf8::is_scalar(*value)) return false;
    utf8::append(out, *value);
    return true;
  }

  Scanner in_;
};

}  // namespace

std::optional<Object> parse_python_call(std::string_view source, std::string_view function) {
  if (!utf8::is_valid(source)) return std::nullopt;
  return CallParser(source).parse_call(function);
}

}  // namespace chatglm
