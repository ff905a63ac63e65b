// What tile_code.cc has for each level of optimization it is compiled at.
#pragma once

#include <cstdint>

namespace chatglm::test {

enum class Misuse { kNotConfigured, kTooManyRows, kUnequalShapes, kOneTileTwice };

// bf16 tiles of what these floats are, which must be bf16 exactly.
struct TileCode {
  // c (m, n) = a (m, k) b (k, n), by two by two tiles.
  void (*multiply)(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k);
  // Makes each tile register each operand of a product; returns how many were wrong.
  int (*use_every_register)();
  // What faults.
  void (*misuse)(Misuse what);
};

extern const TileCode kTileCodeO2, kTileCodeO3;

}  // namespace chatglm::test
