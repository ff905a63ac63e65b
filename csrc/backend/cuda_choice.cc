#include "backend/cuda_choice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace chatglm::cuda {
namespace {

using kernels::cuda::ChoiceMark;
using kernels::cuda::ChoiceRow;

constexpr int64_t kAlignment = 256;
// Bounds the scratch memory, which is about as large as the logits.
constexpr std::size_t kMostRows = 256;
// Bitmaps of a choice.
constexpr uint32_t kPenalised = 0, kBanned = 1;

int64_t aligned(std::size_t bytes) {
  return (static_cast<int64_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t power_of_two(int64_t at_least) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(at_least)));
}

// What a share must be above so that, rounded to f32, it is above `dropped`: halfway to the next.
double least_share(double top_p) {
  const auto dropped = static_cast<float>(1.0 - top_p);
  return 0.5 * (double{dropped} + double{std::nextafter(dropped, 2.0f)});
}

ChoiceRow packed(const ChoiceRule& rule, int32_t row) {
  return {.least_share = rule.top_p < 1.0 ? least_share(rule.top_p) : 0.0,
          .uniform = static_cast<uint64_t>(rule.uniform * 0x1p53),
          .row = row,
          .is_drawn = rule.do_sample ? 1u : 0u,
          .has_marks = 0,
          .penalty = rule.repetition_penalty,
          .temperature = rule.temperature,
          .top_k = rule.top_k,
          .min_p = rule.min_p};
}

}  // namespace

void Chooser::choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
                     std::span<const ChoiceRule> rules, std::span<Choice> choices) {
  for (std::size_t begin = 0; begin < rows.size(); begin += kMostRows) {
    const std::size_t count = std::min(kMostRows, rows.size() - begin);
    choose_some(logits, cols, rows.subspan(begin, count), rules.subspan(begin, count),
                choices.subspan(begin, count));
  }
}

void Chooser::choose_some(const float* logits, int64_t cols, std::span<const int32_t> rows,
                          std::span<const ChoiceRule> rules, std::span<Choice> choices) {
  const bool any_drawn = pack(cols, rows, rules);
  const bool has_marks = !marks_.empty();
  const auto count = static_cast<int64_t>(rows.size());
  const auto choices_bytes = rows.size() * sizeof(int32_t);
  const auto rows_bytes = packed_rows_.size() * sizeof(ChoiceRow);
  const auto marks_bytes = marks_.size() * sizeof(ChoiceMark);
  const int64_t rows_offset = aligned(choices_bytes);
  const int64_t marks_offset = rows_offset + aligned(rows_bytes);
  const int64_t packed_bytes = marks_offset + static_cast<int64_t>(marks_bytes);
  // Powers of two, so that what grows step by step seldom asks for memory.
  const int64_t scratch_offset = power_of_two(packed_bytes);
  make_room(scratch_offset, scratch_offset + kernels::cuda::choice_scratch_bytes(
                                                 power_of_two(count), cols, has_marks));

  std::memcpy(host_.data() + rows_offset, packed_rows_.data(), rows_bytes);
  if (has_marks) std::memcpy(host_.data() + marks_offset, marks_.data(), marks_bytes);
  check(cudaMemcpyAsync(device_.data() + rows_offset, host_.data() + rows_offset,
                        static_cast<std::size_t>(packed_bytes - rows_offset),
                        cudaMemcpyHostToDevice, stream_),
        "choose");
  std::byte* const scratch = device_.data() + scratch_offset;
  if (has_marks) {
    const int64_t bitmap_bytes = kernels::cuda::choice_bitmap_bytes(count, cols);
    check(cudaMemsetAsync(scratch, 0, static_cast<std::size_t>(bitmap_bytes), stream_), "choose");
  }
  kernels::cuda::choose(
      {.scores = logits,
       .columns = cols,
       .rows = reinterpret_cast<const ChoiceRow*>(device_.data() + rows_offset),
       .num_rows = count,
       .marks = reinterpret_cast<const ChoiceMark*>(device_.data() + marks_offset),
       .num_marks = static_cast<int64_t>(marks_.size()),
       .scratch = scratch,
       .choices = reinterpret_cast<int32_t*>(device_.data())},
      any_drawn, stream_, early_);
  check_launch("choose");
  check(
      cudaMemcpyAsync(host_.data(), device_.data(), choices_bytes, cudaMemcpyDeviceToHost, stream_),
      "choose");
  check(cudaStreamSynchronize(stream_), "choose");

  const auto* const columns = reinterpret_cast<const int32_t*>(host_.data());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const bool is_chosen = columns[i] >= 0 && !is_for_host_[i];
    choices[i] =
        is_chosen ? Choice{columns[i], {}} : on_host(logits + rows[i] * cols, cols, rules[i]);
  }
}

// Returns whether any is drawn. Tokens outside of the row have no mark; what the host says to one
// that is penalised, it says itself.
bool Chooser::pack(int64_t cols, std::span<const int32_t> rows, std::span<const ChoiceRule> rules) {
  packed_rows_.clear();
  marks_.clear();
  is_for_host_.assign(rules.size(), false);
  bool any_drawn = false;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const ChoiceRule& rule = rules[i];
    packed_rows_.push_back(packed(rule, rows[i]));
    any_drawn |= rule.do_sample;
    const std::size_t before = marks_.size();
    const auto bitmap = static_cast<uint32_t>(2 * i);
    const auto mark = [&](std::span<const int32_t> tokens, uint32_t kind) {
      for (const int32_t token : tokens) {
        if (token >= 0 && token < cols) {
          marks_.push_back({bitmap + kind, static_cast<uint32_t>(token)});
        } else if (kind == kPenalised) {
          is_for_host_[i] = true;
        }
      }
    };
    if (rule.repetition_penalty != 1.0f) mark(rule.penalised, kPenalised);
    mark(rule.banned, kBanned);
    packed_rows_.back().has_marks = marks_.size() > before ? 1 : 0;
  }
  return any_drawn;
}

void Chooser::make_room(int64_t packed_bytes, int64_t device_bytes) {
  const auto enlarge = [](auto& memory, int64_t size_bytes) {
    if (size_bytes <= memory.size_bytes()) return;
    using Memory = std::remove_reference_t<decltype(memory)>;
    memory = Memory();  // first, so that old and new never stand side by side
    memory = Memory(size_bytes);
  };
  enlarge(host_, packed_bytes);
  enlarge(device_, device_bytes);
}

// Mostly to be told what is wrong.
Choice Chooser::on_host(const float* row, int64_t cols, const ChoiceRule& rule) {
  std::vector<float> logits(static_cast<std::size_t>(cols));
  check(cudaMemcpyAsync(logits.data(), row, logits.size() * sizeof(float), cudaMemcpyDeviceToHost,
                        stream_),
        "choose");
  check(cudaStreamSynchronize(stream_), "choose");
  ChoiceWorkspace workspace;
  return try_choose_token(rule, logits, workspace);
}

}  // namespace chatglm::cuda
