// Whole parts that hold a number of things.
#pragma once

#include <cstdint>

namespace chatglm {

// a / b rounded up; a is not negative, b is positive.
constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace chatglm
