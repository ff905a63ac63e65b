// Speculative decoding (Leviathan, Kalman, Matias 2023; Chen et al. 2023): a drafter guesses the
// next tokens, the model computes them in one step, and those are kept that the sampler gives
// anyway. Decides which sequences' guesses go into a step, and learns from what became of them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/draft_policy.h"
#include "engine/drafter.h"
#include "engine/scheduler.h"

namespace chatglm {

class Speculation {
 public:
  // drafter: nullptr: nothing is ever guessed. num_guesses: as in EngineOptions.
  Speculation(std::unique_ptr<Drafter> drafter, int64_t num_guesses);

  // Adds guesses to the decodes among the plan's chunks.
  void add_guesses(Scheduler& scheduler, std::span<const Chunk> chunks);
  // The step took so long.
  void note_step(std::span<const Chunk> chunks, double ms);
  // The sequence has got its tokens from `first` on.
  void learn(Sequence& sequence, int64_t first);
  void forget(RequestId id);

 private:
  struct Record {
    std::array<Acceptance, Outlook::kKinds> acceptance = {};  // by kind
    int32_t kind = 0;                                         // of the last guess
    int64_t steps_without = 0;                                // guesses, in a row
  };
  struct Candidate {
    std::size_t chunk = 0;
    Outlook outlook;
  };

  std::vector<Candidate> candidates(std::span<const Chunk> chunks, int64_t room);
  std::vector<int64_t> choose(std::span<const Candidate> candidates, std::span<const Chunk> chunks,
                              int64_t rows);

  const std::unique_ptr<Drafter> drafter_;
  const int64_t num_guesses_;
  StepCosts costs_;
  std::unordered_map<RequestId, Record> records_;
};

}  // namespace chatglm
