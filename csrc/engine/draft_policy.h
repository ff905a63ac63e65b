// When guesses pay, and how many: what steps of a number of rows cost here, as measured, against
// the tokens that guesses are likely to bring. Knows numbers only.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace chatglm {

// Time of a step by its number of rows.
class StepCosts {
 public:
  // Rows of a step that holds guesses. Products with so many rows are bitwise those with one row on
  // every instruction set (docs/numerics.md), and so are the tokens.
  static constexpr int64_t kMaxRows = 16;

  void note(int64_t rows, double ms);
  // 1 <= rows <= kMaxRows. In between and beyond what was measured: a guess.
  double ms(int64_t rows) const;
  // Measured, and more than once.
  bool is_sure(int64_t rows) const { return entry(rows).latest.size() >= 3; }

 private:
  struct Entry {
    std::vector<double> latest;
    double median = 0;  // of them: a step may have been disturbed
    int64_t last_step = 0;
  };
  bool is_known(int64_t rows) const { return !entry(rows).latest.empty(); }
  const Entry& entry(int64_t rows) const { return entries_[static_cast<std::size_t>(rows - 1)]; }

  std::array<Entry, kMaxRows> entries_ = {};
  int64_t num_steps_ = 0;
};

// How often guesses of one kind were right in one sequence lately.
class Acceptance {
 public:
  // That the next one is, where `expected` is what one would say without knowing the sequence.
  double rate(double expected) const;
  // num_right guesses in a row were right, the next one was wrong or there was none.
  void note(int64_t num_right, bool then_wrong);

 private:
  double right_ = 0;
  double judged_ = 0;
};

// What one sequence could take of guesses.
struct DraftCandidate {
  double rate = 0;  // that a guess is right if those before it are
  int64_t most_tokens = 0;
};

// The number of guesses for each candidate that gives the most tokens a second.
// rows: of the step without guesses; max_rows: with them.
// draft_ms: the time that it takes to make a guess for all candidates. None, as long as it is not
// known what the step costs without.
std::vector<int64_t> choose_drafts(const StepCosts& costs, double draft_ms, int64_t rows,
                                   int64_t max_rows, std::span<const DraftCandidate> candidates);

// `most` for each candidate, or what max_rows leaves for all alike.
std::vector<int64_t> equal_drafts(int64_t most, int64_t rows, int64_t max_rows,
                                  std::span<const DraftCandidate> candidates);

}  // namespace chatglm
