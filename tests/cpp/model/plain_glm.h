// The forward pass of ChatGLM2/3 written a second time: double precision, no cache, no batch,
// straight from the definition. The oracle of the model tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "memory_source.h"

namespace chatglm::testing {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

class PlainGlm {
 public:
  PlainGlm(const ModelConfig& config, MemorySource& source) : c_(config), source_(source) {}

  // Logits of every position. (tokens, vocab)
  Rows logits(const std::vector<int32_t>& tokens, int64_t first_position = 0) {
    const std::vector<float> embedding = source_.values("token_embd.weight");
    Rows x;
    for (const int32_t token : tokens) {
      const auto begin = embedding.begin() + token * c_.hidden_size;
      x.emplace_back(begin, begin + c_.hidden_size);
    }
    for (int64_t layer = 0; layer < c_.num_layers; ++layer) {
      const std::string prefix = "blk." + std::to_string(layer) + ".";
      attention(prefix, first_position, x);
      feed_forward(prefix, x);
    }
    Rows result;
    for (const Row& row : x) {
      result.push_back(product("output.weight", norm("output_norm.weight", row)));
    }
    return result;
  }

 private:
  Row norm(const std::string& name, const Row& x) {
    const std::vector<float> weight = source_.values(name);
    double squares = 0.0;
    for (const double value : x) squares += value * value;
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) + c_.norm_epsilon);
    Row y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight[i];
    return y;
  }

  Row product(const std::string& name, const Row& x) {
    const std::vector<float> weight = source_.values(name);
    const std::size_t cols = x.size();
    Row y(weight.size() / cols, 0.0);
    for (std::size_t row = 0; row < y.size(); ++row) {
      for (std::size_t i = 0; i < cols; ++i) y[row] += weight[row * cols + i] * x[i];
    }
    return y;
  }

  void rotate(double* head, int64_t position) const {
    for (int64_t pair = 0; pair < c_.rotary_dim / 2; ++pair) {
      const double exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(c_.rotary_dim);
      const double angle = static_cast<double>(position) * c_.rope_position_scale /
                           std::pow(static_cast<double>(c_.rope_theta), exponent);
      const double a = head[2 * pair], b = head[2 * pair + 1];
      head[2 * pair] = a * std::cos(angle) - b * std::sin(angle);
      head[2 * pair + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
  }

  void attention(const std::string& prefix, int64_t first_position, Rows& x) {
    const std::vector<float> bias = source_.values(prefix + "attn_qkv.bias");
    const int64_t d = c_.head_dim;
    Rows qkv;
    for (std::size_t row = 0; row < x.size(); ++row) {
      Row y = product(prefix + "attn_qkv.weight", norm(prefix + "attn_norm.weight", x[row]));
      for (std::size_t i = 0; i < y.size(); ++i) y[i] += bias[i];
      const int64_t position = first_position + static_cast<int64_t>(row);
      for (int64_t head = 0; head < c_.num_heads + c_.num_kv_heads; ++head) {
        rotate(y.data() + head * d, position);
      }
      if (c_.logn_attention) {
        const double scale =
            std::max(1.0, std::log(static_cast<double>(position) + 65.0) / std::log(2048.0));
        for (int64_t i = 0; i < c_.num_heads * d; ++i) y[static_cast<std::size_t>(i)] *= scale;
      }
      qkv.push_back(std::move(y));
    }
    for (std::size_t row = 0; row < x.size(); ++row) {
      Row mixed(static_cast<std::size_t>(c_.num_heads * d), 0.0);
      for (int64_t head = 0; head < c_.num_heads; ++head) {
        const int64_t kv_head = head / (c_.num_heads / c_.num_kv_heads);
        const double* query = qkv[row].data() + head * d;
        Row scores;
        for (std::size_t other = 0; other <= row; ++other) {
          const double* key = qkv[other].data() + (c_.num_heads + kv_head) * d;
          double score = 0.0;
          for (int64_t i = 0; i < d; ++i) score += query[i] * key[i];
          scores.push_back(score / std::sqrt(static_cast<double>(d)));
        }
        const double highest = *std::max_element(scores.begin(), scores.end());
        double total = 0.0;
        for (double& score : scores) total += score = std::exp(score - highest);
        for (std::size_t other = 0; other <= row; ++other) {
          const double* value = qkv[other].data() + (c_.num_heads + c_.num_kv_heads + kv_head) * d;
          for (int64_t i = 0; i < d; ++i) {
            mixed[static_cast<std::size_t>(head * d + i)] += scores[other] / total * value[i];
          }
        }
      }
      const Row y = product(prefix + "attn_output.weight", mixed);
      for (std::size_t i = 0; i < y.size(); ++i) x[row][i] += y[i];
    }
  }

  void feed_forward(const std::string& prefix, Rows& x) {
    for (Row& row : x) {
      const Row gate_up = product(prefix + "ffn_up.weight", norm(prefix + "ffn_norm.weight", row));
      const std::size_t size = gate_up.size() / 2;
      Row inner(size);
      for (std::size_t i = 0; i < size; ++i) {
        inner[i] = gate_up[i] / (1.0 + std::exp(-gate_up[i])) * gate_up[size + i];
      }
      const Row y = product(prefix + "ffn_down.weight", inner);
      for (std::size_t i = 0; i < y.size(); ++i) row[i] += y[i];
    }
  }

  ModelConfig c_;
  MemorySource& source_;
};

}  // namespace chatglm::testing
