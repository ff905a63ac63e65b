// Guesses the next tokens of sequences. The engine verifies guesses and decides how many are worth
// it: a wrong one costs time and nothing else.
#pragma once

#include <cstdint>
#include <span>

#include "engine/sequence.h"

namespace chatglm {

// What could be guessed of one sequence.
struct Outlook {
  int64_t most_tokens = 0;  // 0: nothing
  // How the guess came about, below kKinds: guesses of one kind turn out alike.
  static constexpr int32_t kKinds = 4;
  int32_t kind = 0;
  double likelihood = 0;  // that a token of it is right, as long as nothing is known of this kind
};

struct DraftTask {
  Sequence* sequence = nullptr;
  int64_t num_tokens = 0;  // at least 1, at most the outlook's
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  // Of a sequence that waits for its next token. Computes next to nothing.
  virtual Outlook outlook(const Sequence& sequence, int64_t most_tokens) = 0;
  // Fills Sequence::draft, maybe with fewer tokens than asked for. Only after the same step's
  // outlook of the sequence.
  virtual void propose(std::span<const DraftTask> tasks) = 0;
  // Whether proposing takes no time worth mentioning; else the time that it takes for each further
  // token of all the tasks together, 0 as long as it is not known.
  virtual bool is_free() const = 0;
  virtual double ms_per_token() const = 0;
  // The sequence ends.
  virtual void forget(RequestId id) = 0;
};

}  // namespace chatglm
