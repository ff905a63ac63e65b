// Numbers as text: from Python's ways of writing them to the one way JSON has.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace chatglm {

// Digits of a number written in base 2, 8 or 16 (no prefix, no underscores) as a decimal integer.
// Nothing above kMaxRadixDigits, since the time grows with the square.
inline constexpr size_t kMaxRadixDigits = 4096;
std::optional<std::string> radix_to_decimal(std::string_view digits, int base);

// "1.", ".5", "1e5" as Python's repr() writes the value: "1.0", "0.5", "100000.0". Nothing where
// the value is not finite. `text` is an unsigned decimal float without underscores.
std::optional<std::string> float_repr(std::string_view text);

}  // namespace chatglm
