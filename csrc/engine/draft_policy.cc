// See draft_policy.h.
#include "engine/draft_policy.h"

#include <algorithm>
#include <cmath>

namespace chatglm {
namespace {

// What a further row adds to a step, relative to one row, as long as nobody measured it: little, so
// that it is tried.
constexpr double kUnknownRowShare = 0.1;
constexpr std::size_t kSamples = 5;
// Steps after which a measurement no longer counts: the contexts have grown, or the machine was
// busy then.
constexpr int64_t kOldSteps = 512;
// Guesses must promise this much more than going on without them: estimates err.
constexpr double kWorthwhile = 1.05;

}  // namespace

void StepCosts::note(int64_t rows, double ms) {
  ++num_steps_;
  Entry& noted = entries_[static_cast<std::size_t>(rows - 1)];
  if (noted.latest.size() == kSamples) noted.latest.erase(noted.latest.begin());
  noted.latest.push_back(ms);
  noted.last_step = num_steps_;
  std::vector<double> sorted = noted.latest;
  std::sort(sorted.begin(), sorted.end());
  noted.median = sorted[(sorted.size() - 1) / 2];
  for (Entry& other : entries_) {
    if (other.last_step < num_steps_ - kOldSteps) other = {};
  }
}

double StepCosts::ms(int64_t rows) const {
  int64_t below = rows, above = rows;
  while (below > 0 && !is_known(below)) --below;
  while (above <= kMaxRows && !is_known(above)) ++above;
  if (below == 0 && above > kMaxRows) {
    return 1.0 + kUnknownRowShare * static_cast<double>(rows - 1);
  }
  if (below == 0) return entry(above).median;
  const double known = entry(below).median;
  if (above == below) return known;
  const auto further = static_cast<double>(rows - below);
  if (above <= kMaxRows) {
    const double slope = (entry(above).median - known) / static_cast<double>(above - below);
    return known + slope * further;
  }
  // Beyond all: as steep as the way from one row to here.
  const double first = ms(1);
  const double slope =
      below > 1 ? (known - first) / static_cast<double>(below - 1) : kUnknownRowShare * known;
  return known + std::max(0.0, slope) * further;
}

double Acceptance::rate(double expected) const {
  constexpr double kWeight = 1.0;  // of what is expected, in guesses
  return (right_ + kWeight * expected) / (judged_ + kWeight);
}

void Acceptance::note(int64_t num_right, bool then_wrong) {
  constexpr double kMemory = 0.93;
  right_ = kMemory * right_ + static_cast<double>(num_right);
  judged_ = kMemory * judged_ + static_cast<double>(num_right + (then_wrong ? 1 : 0));
}

std::vector<int64_t> choose_drafts(const StepCosts& costs, double draft_ms, int64_t rows,
                                   int64_t max_rows, std::span<const DraftCandidate> candidates) {
  std::vector<int64_t> counts(candidates.size(), 0);
  if (!costs.is_sure(rows)) return counts;
  std::vector<int64_t> best = counts;
  std::vector<double> gains;  // of one more guess: the probability that it and all before are right
  for (const DraftCandidate& candidate : candidates) gains.push_back(candidate.rate);

  double tokens = static_cast<double>(rows);
  double best_speed = kWorthwhile * tokens / costs.ms(rows);
  int64_t longest = 0;
  for (int64_t total = rows + 1; total <= max_rows; ++total) {
    std::size_t next = candidates.size();
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (counts[i] == candidates[i].most_tokens) continue;
      if (next == candidates.size() || gains[i] > gains[next]) next = i;
    }
    if (next == candidates.size()) break;
    tokens += gains[next];
    gains[next] *= candidates[next].rate;
    longest = std::max(longest, ++counts[next]);
    const double ms = costs.ms(total) + draft_ms * static_cast<double>(longest);
    if (tokens / ms > best_speed) {
      best_speed = tokens / ms;
      best = counts;
    }
  }
  return best;
}

std::vector<int64_t> equal_drafts(int64_t most, int64_t rows, int64_t max_rows,
                                  std::span<const DraftCandidate> candidates) {
  std::vector<int64_t> counts(candidates.size(), 0);
  for (int64_t round = 0; round < most; ++round) {
    for (std::size_t i = 0; i < candidates.size() && rows < max_rows; ++i) {
      if (counts[i] == candidates[i].most_tokens) continue;
      ++counts[i];
      ++rows;
    }
  }
  return counts;
}

}  // namespace chatglm
