// The order of the sampling steps; each step itself is in logits_processors.cc.
#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace chatglm {

Sampler::Sampler(SamplingParams params) : params_(std::move(params)), generator_(params_.seed) {
  params_.validate();
}

SampledToken Sampler::sample(std::span<const float> logits, std::span<const int32_t> context,
                             SamplerWorkspace& workspace) {
  penalise(logits, context, workspace);
  SampledToken sampled;
  if (params_.do_sample) {
    filter(workspace);
    sampled.token = draw(workspace.candidates, next_uniform());
  } else {
    sampled.token = argmax(workspace.scores);
  }
  if (params_.top_logprobs >= 0) add_logprobs(logits, workspace, sampled);
  return sampled;
}

std::vector<float> Sampler::processed_scores(std::span<const float> logits,
                                             std::span<const int32_t> context,
                                             SamplerWorkspace& workspace) const {
  penalise(logits, context, workspace);
  if (!params_.do_sample) return workspace.scores;
  filter(workspace);
  std::vector<float> scores(logits.size(), -std::numeric_limits<float>::infinity());
  for (const Candidate& candidate : workspace.candidates) {
    scores[static_cast<std::size_t>(candidate.token)] = candidate.score;
  }
  return scores;
}

void Sampler::penalise(std::span<const float> logits, std::span<const int32_t> context,
                       SamplerWorkspace& workspace) const {
  check_logits(logits);
  std::vector<float>& scores = workspace.scores;
  scores.assign(logits.begin(), logits.end());
  // The penalty leaves -Inf what it is, so it commutes with the bans and may come first.
  if (params_.repetition_penalty != 1.0f) {
    apply_repetition_penalty(logits, context, params_.repetition_penalty, scores);
  }
  ban_words(params_.bad_words_ids, context, scores);
  const float highest = *std::max_element(scores.begin(), scores.end());
  if (!std::isfinite(highest)) {
    throw Error(ErrorKind::kRuntime, highest > 0.0f
                                         ? "the repetition penalty makes scores overflow"
                                         : "bad_words_ids leave no token that could be chosen");
  }
}

void Sampler::filter(SamplerWorkspace& workspace) const {
  if (params_.temperature != 1.0f) apply_temperature(workspace.scores, params_.temperature);
  std::vector<Candidate>& candidates = workspace.candidates;
  collect_candidates(workspace.scores, candidates);
  if (params_.top_k > 0) keep_top_k(candidates, params_.top_k, workspace.heap);
  if (params_.top_p < 1.0) keep_top_p(candidates, params_.top_p);
  if (params_.min_p > 0.0f) keep_min_p(candidates, params_.min_p);
}

void Sampler::add_logprobs(std::span<const float> logits, SamplerWorkspace& workspace,
                           SampledToken& sampled) const {
  const double normaliser = log_sum_exp(logits);
  auto logprob = [&](float logit) { return static_cast<float>(logit - normaliser); };
  sampled.logprob = logprob(logits[static_cast<std::size_t>(sampled.token)]);

  std::vector<Candidate>& candidates = workspace.candidates;
  collect_candidates(logits, candidates);
  const std::size_t count =
      std::min(static_cast<std::size_t>(params_.top_logprobs), candidates.size());
  const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(candidates.begin(), middle, candidates.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.score != b.score ? a.score > b.score : a.token < b.token;
                    });
  sampled.top_logprobs.reserve(count);
  for (auto it = candidates.begin(); it != middle; ++it) {
    sampled.top_logprobs.push_back({it->token, logprob(it->score)});
  }
}

// 53 random bits as a double in [0, 1). Not a std distribution: those differ between libraries.
double Sampler::next_uniform() {
  return static_cast<double>(generator_() >> 11) * 0x1.0p-53;
}

}  // namespace chatglm
