// See sampler.h.
#include "sampling/sampler.h"

#include <algorithm>
#include <utility>

namespace chatglm {

Sampler::Sampler(SamplingParams params) : params_(std::move(params)), generator_(params_.seed) {
  params_.validate();
}

void Sampler::add_rules(std::span<const int32_t> tokens, std::span<const int32_t> guesses,
                        std::vector<ChoiceRule>& rules) {
  // All that the rules point to is put together first: it must not move any more.
  if (params_.repetition_penalty != 1.0f) {
    remember(tokens);
    penalised_.insert(penalised_.end(), guesses.begin(), guesses.end());
  }
  std::vector<std::size_t> ends(guesses.size() + 1, 0);  // of each rule's part of banned_
  if (!params_.bad_words_ids.empty()) {
    banned_.clear();
    std::size_t longest = 0;  // no word reaches further back
    for (const std::vector<int32_t>& word : params_.bad_words_ids) {
      longest = std::max(longest, word.size());
    }
    const auto end = tokens.last(std::min(longest, tokens.size()));
    std::vector<int32_t> context(end.begin(), end.end());
    context.insert(context.end(), guesses.begin(), guesses.end());
    for (std::size_t i = 0; i < ends.size(); ++i) {
      find_banned(params_.bad_words_ids, std::span(context).first(end.size() + i), banned_);
      ends[i] = banned_.size();
    }
  }

  for (std::size_t i = 0; i < ends.size(); ++i) {
    ChoiceRule rule = plain_rule();
    if (rule.do_sample) rule.uniform = uniform(i);
    const std::size_t num_penalised = std::min(penalised_.size(), num_distinct_ + i);
    rule.penalised = std::span(penalised_).first(num_penalised);
    const std::size_t begin = i == 0 ? 0 : ends[i - 1];
    rule.banned = std::span(banned_).subspan(begin, ends[i] - begin);
    rules.push_back(rule);
  }
}

void Sampler::next() {
  if (!params_.do_sample) return;
  uniform(0);
  uniforms_.pop_front();
}

SampledToken Sampler::sample(std::span<const float> logits, std::span<const int32_t> context,
                             SamplerWorkspace& workspace) {
  ChoiceRule rule = rule_after(context, workspace);
  if (rule.do_sample) rule.uniform = uniform(0);
  SampledToken sampled;
  sampled.token = choose_token(rule, logits, workspace.choice);
  next();
  if (wants_logprobs()) add_logprobs(logits, workspace, sampled);
  return sampled;
}

std::vector<float> Sampler::processed_scores(std::span<const float> logits,
                                             std::span<const int32_t> context,
                                             SamplerWorkspace& workspace) const {
  return chatglm::processed_scores(rule_after(context, workspace), logits, workspace.choice);
}

void Sampler::add_logprobs(std::span<const float> logits, SamplerWorkspace& workspace,
                           SampledToken& sampled) const {
  const double normaliser = log_sum_exp(logits);
  auto logprob = [&](float logit) { return static_cast<float>(logit - normaliser); };
  sampled.logprob = logprob(logits[static_cast<std::size_t>(sampled.token)]);

  std::vector<Candidate>& candidates = workspace.choice.candidates;
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

ChoiceRule Sampler::plain_rule() const {
  return {.do_sample = params_.do_sample,
          .temperature = params_.temperature,
          .top_k = params_.top_k,
          .top_p = params_.top_p,
          .min_p = params_.min_p,
          .repetition_penalty = params_.repetition_penalty};
}

// All but the draw. It points into the workspace.
ChoiceRule Sampler::rule_after(std::span<const int32_t> context,
                               SamplerWorkspace& workspace) const {
  workspace.banned.clear();
  find_banned(params_.bad_words_ids, context, workspace.banned);
  ChoiceRule rule = plain_rule();
  rule.penalised = context;
  rule.banned = workspace.banned;
  return rule;
}

// Takes the last guesses back, and those tokens in that are new.
void Sampler::remember(std::span<const int32_t> tokens) {
  penalised_.resize(num_distinct_);
  for (const int32_t token : tokens.subspan(num_remembered_)) {
    const auto index = static_cast<std::size_t>(token);
    if (index >= is_penalised_.size()) is_penalised_.resize(index + 1);
    if (is_penalised_[index]) continue;
    is_penalised_[index] = true;
    penalised_.push_back(token);
  }
  num_distinct_ = penalised_.size();
  num_remembered_ = tokens.size();
}

// Number `index` of the draws that were not used yet: 53 random bits as a double in [0, 1). Not a
// std distribution: those differ between libraries.
double Sampler::uniform(std::size_t index) {
  while (uniforms_.size() <= index) {
    uniforms_.push_back(static_cast<double>(generator_() >> 11) * 0x1.0p-53);
  }
  return uniforms_[index];
}

}  // namespace chatglm
