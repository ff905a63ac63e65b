// Reads the Python call a model writes to call a tool, as data: nothing is evaluated.
//
//   call     tool_call( [argument {, argument} [,]] )
//   argument name=literal | **{dict literal}
//   literal  string (also "a" "b"), number with an optional sign, True, False, None, list, tuple,
//   dict
//
// Names, operators, calls, comprehensions, sets, f-strings, raw strings, byte strings, complex
// numbers and infinite floats are refused; so are arguments and keys given twice, and nesting
// deeper than kMaxValueDepth. Time and memory are linear in the text, apart from long hexadecimal
// integers, which are bounded.
#pragma once

#include <optional>
#include <string_view>

#include "chat/value.h"

namespace chatglm {

// The arguments in order; nothing where `source` is anything else than one such call of `function`.
std::optional<Object> parse_python_call(std::string_view source, std::string_view function);

}  // namespace chatglm
