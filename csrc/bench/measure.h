// Times prefill and decode of one model at given depths. Knows no output format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "kv/paged_kv.h"
#include "model/model.h"

namespace chatglm {

struct Measurement {
  std::string test;  // "pp512", "tg64", "tg64 @ d4096"
  bool is_decode = false;
  std::vector<double> tokens_per_second;  // one for each repetition
  double bytes_per_token = 0.0;           // decode: weights and KV cache read for a token
  double flops_per_token = 0.0;           // prefill: multiply-adds count two
};

struct MeasureOptions {
  int64_t prompt_tokens = 512;  // 0: no prefill test
  int64_t decode_tokens = 64;   // 0: no decode test
  int64_t depth = 0;            // positions already in the cache
  int64_t batch_rows = 512;     // rows of one prefill step
  int repetitions = 5;
  DType kv_dtype = DType::kF16;
};

// One warm-up, then `repetitions` of each test. The cache below `depth` holds arbitrary finite
// values.
std::vector<Measurement> measure(Model& model, Backend& backend, const MeasureOptions& options);

}  // namespace chatglm
