// See logits_processors.h. Nothing here sorts a whole vocabulary unless a distribution is so flat
// that its kept part is most of it.
#include "sampling/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"

namespace chatglm {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

float highest_score(std::span<const Candidate> candidates) {
  float highest = kMinusInfinity;
  for (const Candidate& candidate : candidates) highest = std::max(highest, candidate.score);
  return highest;
}

// The softmax numerator. The difference is rounded to f32 as torch's softmax rounds it.
double weight(float score, float highest) {
  return std::exp(static_cast<double>(score - highest));
}

double total_weight(std::span<const Candidate> candidates, float highest) {
  double total = 0.0;
  for (const Candidate& candidate : candidates) total += weight(candidate.score, highest);
  return total;
}

bool less_likely(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score < b.score : a.token < b.token;
}

bool lower_id(const Candidate& a, const Candidate& b) {
  return a.token < b.token;
}

}  // namespace

void check_logits(std::span<const float> logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  bool any_finite = false;
  bool all_valid = true;
  for (float logit : logits) {
    all_valid &= logit < kInfinity;  // false for NaN too
    any_finite |= logit > kMinusInfinity;
  }
  if (all_valid && any_finite) return;
  if (all_valid) {
    throw Error(ErrorKind::kRuntime, "the model gave no usable logits: all " +
                                         std::to_string(logits.size()) + " are -Inf");
  }
  int64_t num_nan = 0;
  int64_t num_infinite = 0;
  int64_t first = -1;
  for (std::size_t token = 0; token < logits.size(); ++token) {
    if (logits[token] < kInfinity) continue;
    if (first < 0) first = static_cast<int64_t>(token);
    (std::isnan(logits[token]) ? num_nan : num_infinite) += 1;
  }
  throw Error(ErrorKind::kRuntime, "the model gave unusable logits: " + std::to_string(num_nan) +
                                       " NaN and " + std::to_string(num_infinite) + " +Inf among " +
                                       std::to_string(logits.size()) + ", first at token " +
                                       std::to_string(first));
}

void apply_repetition_penalty(std::span<const float> logits, std::span<const int32_t> context,
                              float penalty, std::span<float> scores) {
  for (int32_t token : context) {
    const auto index = static_cast<std::size_t>(static_cast<uint32_t>(token));
    if (index >= logits.size()) {
      throw Error(ErrorKind::kInvalidArgument,
                  "token ids of the context must be below the vocabulary size " +
                      std::to_string(logits.size()) + ", found " + std::to_string(token));
    }
    // From the untouched logit, so that a repeated token is not penalised twice.
    const float logit = logits[index];
    scores[index] = logit < 0.0f ? logit * penalty : logit / penalty;
  }
}

void find_banned(std::span<const std::vector<int32_t>> words, std::span<const int32_t> context,
                 std::vector<int32_t>& banned) {
  for (const std::vector<int32_t>& word : words) {
    const std::size_t prefix_size = word.size() - 1;
    if (word.size() > 1 && word.size() > context.size()) continue;
    const auto end_of_context = context.last(prefix_size);
    if (!std::equal(end_of_context.begin(), end_of_context.end(), word.begin())) continue;
    banned.push_back(word.back());
  }
}

void ban_tokens(std::span<const int32_t> banned, std::span<float> scores) {
  for (const int32_t token : banned) {
    const auto index = static_cast<std::size_t>(static_cast<uint32_t>(token));
    if (index < scores.size()) scores[index] = kMinusInfinity;
  }
}

int32_t argmax(std::span<const float> scores) {
  return static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

void apply_temperature(std::span<float> scores, float temperature) {
  const float highest = *std::max_element(scores.begin(), scores.end());
  // Only differences count; so where a tiny temperature would overflow, the highest becomes 0.
  const float shift = std::isfinite(highest / temperature) ? 0.0f : highest;
  for (float& score : scores) score = (score - shift) / temperature;
}

void collect_candidates(std::span<const float> scores, std::vector<Candidate>& candidates) {
  candidates.clear();
  candidates.reserve(scores.size());
  for (std::size_t token = 0; token < scores.size(); ++token) {
    if (scores[token] > kMinusInfinity) {
      candidates.push_back({scores[token], static_cast<int32_t>(token)});
    }
  }
}

void keep_top_k(std::vector<Candidate>& candidates, int32_t top_k, std::vector<float>& heap) {
  const auto k = static_cast<std::size_t>(top_k);
  if (k >= candidates.size()) return;
  heap.clear();  // the k highest scores so far, the lowest of them in front
  for (const Candidate& candidate : candidates) {
    if (heap.size() == k) {
      if (candidate.score <= heap.front()) continue;
      std::pop_heap(heap.begin(), heap.end(), std::greater<>());
      heap.pop_back();
    }
    heap.push_back(candidate.score);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
  const float threshold = heap.front();
  std::erase_if(candidates, [=](const Candidate& c) { return c.score < threshold; });
}

void keep_top_p(std::vector<Candidate>& candidates, double top_p) {
  if (candidates.size() <= 1) return;
  const float highest = highest_score(candidates);
  const double total = total_weight(candidates, highest);
  const auto dropped_mass = static_cast<float>(1.0 - top_p);

  // n tokens of probability below dropped_mass / n can't exceed dropped_mass together: they all go,
  // and only the others are put in order. (The margin is far above the rounding.)
  if (dropped_mass > 0.0f) {
    const double bound = dropped_mass * total / static_cast<double>(candidates.size());
    const auto score_bound = static_cast<float>(std::log(bound) - 1e-3);
    std::erase_if(candidates, [=](const Candidate& c) { return c.score - highest < score_bound; });
  }

  // From the likeliest down: `mass` is the probability of a token and all that are less likely.
  std::make_heap(candidates.begin(), candidates.end(), less_likely);
  auto heap_end = candidates.end();
  double mass = 1.0;
  do {
    mass -= weight(candidates.front().score, highest) / total;
    std::pop_heap(candidates.begin(), heap_end, less_likely);
    --heap_end;
  } while (heap_end != candidates.begin() && static_cast<float>(mass) > dropped_mass);
  candidates.erase(candidates.begin(), heap_end);
  std::sort(candidates.begin(), candidates.end(), lower_id);
}

void keep_min_p(std::vector<Candidate>& candidates, float min_p) {
  const float highest = highest_score(candidates);
  const double total = total_weight(candidates, highest);
  const float threshold = min_p * static_cast<float>(1.0 / total);
  std::erase_if(candidates, [=](const Candidate& c) {
    return static_cast<float>(weight(c.score, highest) / total) < threshold;
  });
}

int32_t draw(std::span<const Candidate> candidates, double uniform) {
  const float highest = highest_score(candidates);
  const double target = uniform * total_weight(candidates, highest);
  double cumulative = 0.0;
  int32_t last_possible = -1;
  for (const Candidate& candidate : candidates) {
    const double share = weight(candidate.score, highest);
    if (share == 0.0) continue;
    cumulative += share;
    last_possible = candidate.token;
    if (cumulative > target) break;
  }
  return last_possible;
}

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double total = 0.0;
  for (float logit : logits) total += std::exp(logit - highest);
  return highest + std::log(total);
}

}  // namespace chatglm
