// The tiny model of tests/goldens/model/chatglm2_32k and what the official code computes of it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gguf/gguf_file.h"
#include "model/glm_runner.h"

namespace chatglm::testing {

class GoldenModel {
  GgufFile file_;
  GgufTensorSource source_;

 public:
  ModelConfig config;  // as the file has it; may be changed before runner()

  GoldenModel()
      : file_(folder() / "model.gguf"), source_(file_), config(read_model_config(file_)) {}

  Runner runner(std::unique_ptr<Backend> backend) {
    return Runner(config, source_, DType::kF32, std::move(backend));
  }

  struct Outcome {
    double worst;   // difference of all logits that are known
    int wrong_ids;  // greedy ones
  };
  // Of the prompt in steps of at most `most_rows`, then a step for each greedy id.
  Outcome compare(Runner& runner, const std::string& part, std::size_t most_rows) const {
    const auto prompt = read<int32_t>(part + ".input_ids.i32");
    const auto greedy = read<int32_t>(part + ".greedy_ids.i32");
    std::vector<std::vector<float>> logits;
    const auto run = [&](const std::vector<int32_t>& tokens) {
      const auto rows = runner.run({{0, static_cast<int32_t>(logits.size()), tokens}});
      logits.insert(logits.end(), rows.begin(), rows.end());
    };
    for (auto begin = prompt.begin(); begin != prompt.end();) {
      const auto left = static_cast<std::size_t>(prompt.end() - begin);
      const auto end = begin + static_cast<std::ptrdiff_t>(std::min(left, most_rows));
      run({begin, end});
      begin = end;
    }
    for (std::size_t i = 0; i + 1 < greedy.size(); ++i) run({greedy[i]});

    Outcome outcome{};
    if (part == "short") {
      outcome.worst = std::max(worst_of(logits, 0, part + ".logits.f32"),
                               worst_of(logits, prompt.size(), part + ".decode_logits.f32"));
    } else {
      outcome.worst = worst_of(logits, prompt.size() - 1, part + ".last_logits.f32");
    }
    for (std::size_t i = 0; i < greedy.size(); ++i) {
      const std::vector<float>& row = logits[prompt.size() - 1 + i];
      outcome.wrong_ids += std::max_element(row.begin(), row.end()) - row.begin() != greedy[i];
    }
    return outcome;
  }

 private:
  static std::filesystem::path folder() {
    return std::filesystem::path(CHATGLM_SOURCE_DIR) / "tests/goldens/model/chatglm2_32k";
  }

  // Over the rows that the file has, which are those from `first` on.
  double worst_of(const std::vector<std::vector<float>>& logits, std::size_t first,
                  const std::string& name) const {
    const auto expected = read<float>(name);
    const auto vocab_size = static_cast<std::size_t>(config.vocab_size);
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double found = logits.at(first + i / vocab_size)[i % vocab_size];
      worst = std::max(worst, std::abs(found - expected[i]));
    }
    return worst;
  }

  template <typename T>
  static std::vector<T> read(const std::string& name) {
    std::ifstream stream(folder() / name, std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(stream), {});
    EXPECT_FALSE(bytes.empty()) << name;
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
  }
};

}  // namespace chatglm::testing
