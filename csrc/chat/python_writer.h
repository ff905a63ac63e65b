// A tool call as Python source, in the way ChatGLM3 was trained to write it.
#pragma once

#include <string>
#include <string_view>

#include "chat/value.h"

namespace chatglm {

// "function(name='value', n=1)". A name that is not plainly an identifier is written **{'a-b': 1},
// which parse_python_call reads back.
std::string to_python_call(std::string_view function, const Object& arguments);

}  // namespace chatglm
