// Small text helpers of the chat formats: characters, white space and names as Python sees them.
#pragma once

#include <string_view>

namespace chatglm {

// str.isspace() of one character.
bool is_python_space(char32_t code_point);
// str.strip(), str.lstrip()
std::string_view strip(std::string_view text);
std::string_view strip_left(std::string_view text);
// Bytes of a Python identifier; every character outside ASCII is taken for a letter.
bool is_identifier_start(char c);
bool is_identifier_part(char c);
// Surely an identifier: ASCII letters, digits, underscores and Chinese characters.
bool is_plain_name(std::string_view text);

}  // namespace chatglm
