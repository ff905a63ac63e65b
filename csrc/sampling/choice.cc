// The order of the steps; each step itself is in logits_processors.cc.
#include "sampling/choice.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

#include "base/error.h"

namespace chatglm {
namespace {

void penalise(const ChoiceRule& rule, std::span<const float> logits, ChoiceWorkspace& workspace) {
  check_logits(logits);
  std::vector<float>& scores = workspace.scores;
  scores.assign(logits.begin(), logits.end());
  // The penalty leaves -Inf what it is, so it commutes with the bans and may come first.
  if (rule.repetition_penalty != 1.0f) {
    apply_repetition_penalty(logits, rule.penalised, rule.repetition_penalty, scores);
  }
  ban_tokens(rule.banned, scores);
  const float highest = *std::max_element(scores.begin(), scores.end());
  if (!std::isfinite(highest)) {
    throw Error(ErrorKind::kRuntime, highest > 0.0f
                                         ? "the repetition penalty makes scores overflow"
                                         : "bad_words_ids leave no token that could be chosen");
  }
}

void filter(const ChoiceRule& rule, ChoiceWorkspace& workspace) {
  if (rule.temperature != 1.0f) apply_temperature(workspace.scores, rule.temperature);
  std::vector<Candidate>& candidates = workspace.candidates;
  collect_candidates(workspace.scores, candidates);
  if (rule.top_k > 0) keep_top_k(candidates, rule.top_k, workspace.heap);
  if (rule.top_p < 1.0) keep_top_p(candidates, rule.top_p);
  if (rule.min_p > 0.0f) keep_min_p(candidates, rule.min_p);
}

}  // namespace

int32_t choose_token(const ChoiceRule& rule, std::span<const float> logits,
                     ChoiceWorkspace& workspace) {
  penalise(rule, logits, workspace);
  if (!rule.do_sample) return argmax(workspace.scores);
  filter(rule, workspace);
  return draw(workspace.candidates, rule.uniform);
}

Choice try_choose_token(const ChoiceRule& rule, std::span<const float> logits,
                        ChoiceWorkspace& workspace) {
  Choice choice;
  try {
    choice.token = choose_token(rule, logits, workspace);
  } catch (const std::exception& error) {
    choice.error = error.what();
  }
  return choice;
}

std::vector<float> processed_scores(const ChoiceRule& rule, std::span<const float> logits,
                                    ChoiceWorkspace& workspace) {
  penalise(rule, logits, workspace);
  if (!rule.do_sample) return workspace.scores;
  filter(rule, workspace);
  std::vector<float> scores(logits.size(), -std::numeric_limits<float>::infinity());
  for (const Candidate& candidate : workspace.candidates) {
    scores[static_cast<std::size_t>(candidate.token)] = candidate.score;
  }
  return scores;
}

}  // namespace chatglm
