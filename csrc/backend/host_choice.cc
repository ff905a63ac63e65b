// Backend::choose() of a backend that has no way of its own.
#include <vector>

#include "backend/backend.h"

namespace chatglm {

void Backend::choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
                     std::span<const ChoiceRule> rules, std::span<Choice> choices) {
  ChoiceWorkspace workspace;
  std::vector<float> row(static_cast<std::size_t>(cols));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    download(row.data(), logits + rows[i] * cols, cols * static_cast<int64_t>(sizeof(float)));
    choices[i] = try_choose_token(rules[i], row, workspace);
  }
}

}  // namespace chatglm
