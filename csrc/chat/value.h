// A piece of data as JSON and Python literals both know it: what the arguments of a tool call are.
#pragma once

#include <cstddef>
#include <string>
#include <variant>
#include <vector>

namespace chatglm {

struct Value;
struct Member;

struct Number {
  std::string text;  // as JSON writes it; integers of any size are exact
};

// Null unless said otherwise. (A default member initializer here would need Member to be complete.)
struct Value {
  std::variant<std::nullptr_t, bool, Number, std::string, std::vector<Value>, std::vector<Member>>
      data;
};

struct Member {
  std::string name;
  Value value;
};

using Object = std::vector<Member>;  // in the order written, names are distinct

// Deepest nesting that is read; what is deeper does not parse.
inline constexpr int kMaxValueDepth = 64;

}  // namespace chatglm
