// See speculation.h.
#include "engine/speculation.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace chatglm {
namespace {

// A drafter that takes time is tried again after so many steps in which it did not seem to pay.
constexpr int64_t kTryAgainSteps = 64;

int64_t num_rows(std::span<const Chunk> chunks) {
  int64_t rows = 0;
  for (const Chunk& chunk : chunks) rows += chunk.num_rows();
  return rows;
}

}  // namespace

Speculation::Speculation(std::unique_ptr<Drafter> drafter, int64_t num_guesses)
    : drafter_(std::move(drafter)), num_guesses_(num_guesses) {}

void Speculation::add_guesses(Scheduler& scheduler, std::span<const Chunk> chunks) {
  if (drafter_ == nullptr) return;
  for (const Chunk& chunk : chunks) chunk.sequence->draft.clear();
  const int64_t rows = num_rows(chunks);
  if (rows >= StepCosts::kMaxRows) return;
  const std::vector<Candidate> found = candidates(chunks, StepCosts::kMaxRows - rows);
  const std::vector<int64_t> counts = choose(found, chunks, rows);

  std::vector<DraftTask> tasks;
  for (std::size_t i = 0; i < found.size(); ++i) {
    // What costs nothing is guessed anyway, to see whether it would have been right.
    const int64_t count = drafter_->is_free() ? std::max<int64_t>(1, counts[i]) : counts[i];
    if (count > 0) tasks.push_back({chunks[found[i].chunk].sequence, count});
  }
  if (!tasks.empty()) drafter_->propose(tasks);
  for (std::size_t i = 0; i < found.size(); ++i) {
    scheduler.add_guesses(found[i].chunk, counts[i]);
  }
}

std::vector<Speculation::Candidate> Speculation::candidates(std::span<const Chunk> chunks,
                                                            int64_t room) {
  std::vector<Candidate> found;
  for (std::size_t index = 0; index < chunks.size(); ++index) {
    const Chunk& chunk = chunks[index];
    const Sequence& sequence = *chunk.sequence;
    if (!chunk.is_decode() || !sequence.may_speculate) continue;
    // The step gives one token anyway.
    const int64_t most = std::min(room, sequence.max_tokens - sequence.num_tokens() - 1);
    if (most < 1) continue;
    const Outlook outlook = drafter_->outlook(sequence, most);
    if (outlook.most_tokens < 1) continue;
    records_[sequence.id].kind = outlook.kind;
    found.push_back({index, outlook});
  }
  return found;
}

std::vector<int64_t> Speculation::choose(std::span<const Candidate> candidates,
                                         std::span<const Chunk> chunks, int64_t rows) {
  std::vector<DraftCandidate> rated;
  for (const auto& [chunk, outlook] : candidates) {
    const Record& record = records_[chunks[chunk].sequence->id];
    const Acceptance& acceptance = record.acceptance[static_cast<std::size_t>(outlook.kind)];
    rated.push_back({acceptance.rate(outlook.likelihood), outlook.most_tokens});
  }
  if (num_guesses_ > 0) return equal_drafts(num_guesses_, rows, StepCosts::kMaxRows, rated);
  std::vector<int64_t> counts =
      choose_drafts(costs_, drafter_->ms_per_token(), rows, StepCosts::kMaxRows, rated);
  if (drafter_->is_free()) return counts;
  int64_t total = std::accumulate(counts.begin(), counts.end(), rows);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    int64_t& steps_without = records_[chunks[candidates[i].chunk].sequence->id].steps_without;
    if (counts[i] == 0 && ++steps_without >= kTryAgainSteps && total < StepCosts::kMaxRows) {
      counts[i] = 1;
      ++total;
    }
    if (counts[i] > 0) steps_without = 0;
  }
  return counts;
}

void Speculation::note_step(std::span<const Chunk> chunks, double ms) {
  const int64_t rows = num_rows(chunks);
  const bool only_decodes = std::ranges::all_of(chunks, &Chunk::is_decode);
  if (drafter_ != nullptr && only_decodes && rows <= StepCosts::kMaxRows) costs_.note(rows, ms);
}

void Speculation::learn(Sequence& sequence, int64_t first) {
  const int64_t judged =
      std::min(sequence.num_tokens() - first, static_cast<int64_t>(sequence.draft.size()));
  if (judged > 0) {
    const auto begin = sequence.tokens.begin() + first;
    const int64_t right =
        std::mismatch(begin, begin + judged, sequence.draft.begin()).first - begin;
    Record& record = records_[sequence.id];
    record.acceptance[static_cast<std::size_t>(record.kind)].note(right, right < judged);
  }
  sequence.draft.clear();
}

void Speculation::forget(RequestId id) {
  if (drafter_ == nullptr) return;
  records_.erase(id);
  drafter_->forget(id);
}

}  // namespace chatglm
