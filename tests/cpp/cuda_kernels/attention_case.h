// An attention over a filled cache: computed on the device, by the reference, and in the plainest
// way at the precision that a kernel promises.
#pragma once

#include "cuda_kernels/device_cache.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {

inline float as_half(float value) {
  return half_to_float(float_to_half(value));
}

struct AttentionSpec {
  KvLayout layout;
  int64_t group;
  std::vector<int64_t> lengths;
  int64_t rows_each;  // the last ones of each sequence
  bool is_causal = true;
  float query_scale = 1;
  float key_scale = 1;
};

// Keys, values and queries are normal; a test may change them before store().
class AttentionCase {
 public:
  static constexpr uint64_t kSeed = 17;
  static constexpr int64_t kLayer = PagedCase::kLayer;

  explicit AttentionCase(const AttentionSpec& spec)
      : spec_(spec),
        heads_(spec.group * spec.layout.kv_heads),
        cache_(random_, spec.layout, spec.lengths) {
    const int64_t used = spec.layout.kv_heads * spec.layout.head_dim;
    cache_.choose_rows(*std::ranges::max_element(spec.lengths));
    const int64_t slots = cache_.rows();
    keys_ = random_.normals(slots * used, spec.key_scale);
    values_ = random_.normals(slots * used);
    first_.assign(1, 0);
    for (const int64_t length : spec.lengths) first_.push_back(first_.back() + length);
    query_stride_ = heads_ * head_dim() + 5;
    query_ =
        random_.normals(spec.rows_each * static_cast<int64_t>(spec.lengths.size()) * query_stride_,
                        spec.query_scale);
  }

  std::vector<float>& keys() { return keys_; }      // (slots of all sequences, kv_heads, head_dim)
  std::vector<float>& values() { return values_; }  // the same
  std::vector<float>& query() { return query_; }    // (rows, query_stride)

  // After changes of keys and values, before everything below.
  void store() {
    const int64_t used = spec_.layout.kv_heads * head_dim();
    reference::kv_store(
        {keys_.data(), values_.data(), used, kLayer, cache_.view(), cache_.ragged()});
    const auto stored = [&](std::vector<float>& all) {
      all = decoded(spec_.layout.dtype, encoded(spec_.layout.dtype, all),
                    static_cast<int64_t>(all.size()));
    };
    stored(keys_);
    stored(values_);
    cache_.choose_rows(spec_.rows_each);
    if (!spec_.is_causal) cache_.see_whole_sequences();
    device_ = std::make_unique<DeviceCache>(cache_);
    device_query_ = std::make_unique<DeviceArray<float>>(query_);
  }

  int64_t rows() const { return cache_.rows(); }
  int64_t head_dim() const { return spec_.layout.head_dim; }
  int64_t row_size() const { return heads_ * head_dim(); }
  int64_t visible(int64_t row) const { return cache_.visible(row); }
  AttentionShape shape() const {
    return {spec_.layout.dtype, heads_, spec_.layout.kv_heads, head_dim(),
            spec_.layout.page_tokens};
  }
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim())); }

  // Rows [first, first + count) on a device of so many multiprocessors.
  std::vector<float> run(int multiprocessors, int64_t first, int64_t count) const {
    const auto rows = static_cast<std::size_t>(count);
    const RaggedRows host = cache_.ragged(first, count);
    AttentionPlan plan;
    plan.make(shape(), {host.sequence, rows}, {host.visible, rows}, multiprocessors);
    EXPECT_LE(plan.tiles().size(), rows);
    const DeviceArray<RowTile> tiles(
        std::vector<RowTile>(plan.tiles().begin(), plan.tiles().end()));
    const DeviceArray<float> workspace(plan.workspace_bytes() / 4);
    const DeviceArray<float> output(count * row_size());
    paged_attention({device_query_->data() + first * query_stride_, query_stride_, output.data(),
                     heads_, kLayer, scale(), device_->view(), device_->ragged(first, count)},
                    plan.grid(), tiles.data(), reinterpret_cast<std::byte*>(workspace.data()),
                    nullptr);
    workspace.values();  // its guards
    return output.values();
  }
  std::vector<float> run(int multiprocessors = 4) const { return run(multiprocessors, 0, rows()); }

  std::vector<float> expected() const {
    std::vector<float> output(static_cast<std::size_t>(rows() * row_size()));
    reference::paged_attention({query_.data(), query_stride_, output.data(), heads_, kLayer,
                                scale(), cache_.view(), cache_.ragged()});
    return output;
  }

  // What of a row, head and slot enters the products.
  const float* query(int64_t row, int64_t head) const {
    return query_.data() + row * query_stride_ + head * head_dim();
  }
  const float* stored(const std::vector<float>& dense, int64_t row, int64_t head, int64_t t) const {
    const int64_t slot = first_[static_cast<std::size_t>(cache_.sequence(row))] + t;
    return dense.data() + (slot * spec_.layout.kv_heads + head / spec_.group) * head_dim();
  }
  const float* key(int64_t row, int64_t head, int64_t t) const {
    return stored(keys_, row, head, t);
  }
  const float* value(int64_t row, int64_t head, int64_t t) const {
    return stored(values_, row, head, t);
  }
  int64_t heads() const { return heads_; }
  DType dtype() const { return spec_.layout.dtype; }

  std::string name() const {
    return layout_name(spec_.layout) + " group=" + std::to_string(spec_.group) +
           " rows=" + std::to_string(rows()) + " seed=" + std::to_string(kSeed);
  }

 private:
  Random random_{kSeed};
  AttentionSpec spec_;
  int64_t heads_;
  PagedCase cache_;
  std::vector<float> keys_, values_, query_;
  std::vector<int64_t> first_;  // (sequences + 1) first slot of each
  int64_t query_stride_ = 0;
  std::unique_ptr<DeviceCache> device_;
  std::unique_ptr<DeviceArray<float>> device_query_;
};

// The plainest attention at the precision of the kernel that is chosen: f32, or with the operands
// of the matrix products rounded to halves.
inline std::vector<float> plain_attention(const AttentionCase& test) {
  const bool has_halves = has_matrix_kernel(test.shape());
  const int64_t dim = test.head_dim();
  std::vector<float> output, query(static_cast<std::size_t>(dim)), weights;
  const auto rounded = [&](float value) { return has_halves ? as_half(value) : value; };
  for (int64_t row = 0; row < test.rows(); ++row) {
    for (int64_t head = 0; head < test.heads(); ++head) {
      const float* const q = test.query(row, head);
      float most = 0;
      for (int64_t i = 0; i < dim; ++i) most = std::max(most, std::fabs(q[i]));
      const float power = most > 0 ? std::exp2(std::floor(std::log2(most))) : 1;
      for (std::size_t i = 0; i < query.size(); ++i) query[i] = rounded(q[i] / power) * power;
      weights.clear();
      float largest = -std::numeric_limits<float>::infinity(), total = 0;
      for (int64_t t = 0; t < test.visible(row); ++t) {
        float dot = 0;
        for (std::size_t i = 0; i < query.size(); ++i) {
          dot += query[i] * (rounded(test.key(row, head, t)[i] / 128) * 128);
        }
        weights.push_back(dot * test.scale());
        largest = std::max(largest, weights.back());
      }
      for (float& weight : weights) total += weight = rounded(std::exp(weight - largest));
      for (int64_t i = 0; i < dim; ++i) {
        float sum = 0;
        for (std::size_t t = 0; t < weights.size(); ++t) {
          sum += weights[t] * rounded(test.value(row, head, static_cast<int64_t>(t))[i]);
        }
        output.push_back(sum / total);
      }
    }
  }
  return output;
}

// Each score is off by at most `score`, so its weight by the factor exp(2 score) against the total;
// weights are rounded once, and the sums over slots add one unit an addition.
inline std::vector<double> attention_bound(const AttentionCase& test) {
  constexpr double kHalf = 1.0 / (1 << 11);  // relative error of rounding to a half
  const bool has_halves = has_matrix_kernel(test.shape());
  const double key_units = test.dtype() == DType::kQ8_0 ? kHalf : 0;
  const double rounding = has_halves ? kHalf + key_units : 0;
  const int64_t dim = test.head_dim();
  std::vector<double> result;
  for (int64_t row = 0; row < test.rows(); ++row) {
    for (int64_t head = 0; head < test.heads(); ++head) {
      double magnitude = 0, total_query = 0;
      std::vector<double> largest(static_cast<std::size_t>(dim), 0.0);
      for (int64_t i = 0; i < dim; ++i) total_query += std::fabs(double{test.query(row, head)[i]});
      for (int64_t t = 0; t < test.visible(row); ++t) {
        double dot = 0;
        for (int64_t i = 0; i < dim; ++i) {
          dot += std::fabs(double{test.query(row, head)[i]} * test.key(row, head, t)[i]);
          double& most = largest[static_cast<std::size_t>(i)];
          most = std::max(most, std::fabs(double{test.value(row, head, t)[i]}));
        }
        magnitude = std::max(magnitude, dot * double{test.scale()});
      }
      // Opened keys are at most 2^-18 off where they are small.
      const double score = (rounding + static_cast<double>(dim + 8) * kUnit) * magnitude +
                           (key_units > 0 ? std::ldexp(total_query * test.scale(), -18) : 0);
      const double weight = std::expm1(2 * score) + (has_halves ? kHalf : 0) +
                            static_cast<double>(test.visible(row) + 16) * kUnit;
      for (const double value : largest) result.push_back((2 * weight + key_units) * value);
    }
  }
  return result;
}

}  // namespace chatglm::kernels::cuda
