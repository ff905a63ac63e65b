// Times prefill and decode of one model at given depths and numbers of sequences. Knows no output
// format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "kv/paged_kv.h"
#include "model/model.h"

namespace chatglm {

struct Measurement {
  bool is_decode = false;
  int64_t tokens = 0;     // of each sequence
  int64_t sequences = 1;  // that decode together
  int64_t guesses = 0;    // of each sequence that a decode step verifies
  int64_t depth = 0;      // positions already in each cache
  DType kv_dtype = DType::kF16;
  int num_threads = 0;
  std::vector<double> tokens_per_second = {};  // of all sequences together, one for each repetition
  double bytes_per_token = 0.0;                // decode: weights and KV cache read for a token
  double flops_per_token = 0.0;                // prefill: multiply-adds count two
  int64_t peak_rss_bytes = 0;                  // of the process, from its start to this row's end

  std::string test() const;  // "pp512", "tg64", "tg64 x16 @ d4096", "tg64 +7 guesses"
};

struct MeasureOptions {
  int64_t prompt_tokens = 512;         // 0: no prefill test
  int64_t decode_tokens = 64;          // 0: no decode test
  std::vector<int64_t> depths = {0};   // positions already in the cache
  std::vector<int64_t> batches = {1};  // sequences that decode together
  std::vector<int64_t> guesses = {0};  // of each sequence that a decode step verifies
  double acceptance = 0.8;  // share of the guesses that are right where those before them were
  std::vector<DType> kv_dtypes = {DType::kF16};
  int64_t batch_rows = 512;  // rows of one prefill step
  int repetitions = 5;
};

// For each cache type and depth a prefill test of one sequence and a decode test of each batch
// and number of guesses: one warm-up, then the repetitions. The cache below the depth holds
// arbitrary finite values. Throws Error{kContextLength} where the model has not that many
// positions, and Error{kDevice} where the caches would not fit into the memory that is free.
std::vector<Measurement> measure(Model& model, Backend& backend, const MeasureOptions& options);

}  // namespace chatglm
