#include "cli/answer.h"

#include <chrono>
#include <cstdio>
#include <string>

#include "cli/console.h"
#include "cli/interrupt.h"

namespace chatglm::cli {
namespace {

constexpr std::chrono::milliseconds kLookForInterrupt{50};

std::string timing_line(const char* what, double ms, int64_t tokens, const std::string& remark) {
  char line[160];
  const double ms_per_token = tokens > 0 ? ms / static_cast<double>(tokens) : 0.0;
  std::snprintf(line, sizeof line, "%s time: %.1f ms / %lld tokens (%.2f ms/token%s)\n", what, ms,
                static_cast<long long>(tokens), ms_per_token, remark.c_str());
  return line;
}

// Of the guesses that were verified; nothing where there was none.
std::string speculation_line(const GenerationTimings& timings) {
  if (timings.proposed_tokens == 0) return "";
  char line[120];
  std::snprintf(line, sizeof line, "speculation: %lld tokens proposed, %lld accepted (%.1f %%)\n",
                static_cast<long long>(timings.proposed_tokens),
                static_cast<long long>(timings.accepted_tokens),
                100.0 * static_cast<double>(timings.accepted_tokens) /
                    static_cast<double>(timings.proposed_tokens));
  return line;
}

void print_timings(const GenerationTimings& timings) {
  const int64_t computed = timings.prompt_tokens - timings.reused_tokens;
  const std::string reused = timings.reused_tokens > 0
                                 ? ", " + std::to_string(timings.reused_tokens) + " more reused"
                                 : "";
  write_note("\n" + timing_line("prompt", timings.prompt_ms, computed, reused) +
             timing_line("output", timings.output_ms, timings.output_tokens, "") +
             timing_line("total", timings.prompt_ms + timings.output_ms,
                         computed + timings.output_tokens, "") +
             speculation_line(timings));
}

}  // namespace

AnswerEnd print_answer(Generation& generation, bool sync, bool verbose) {
  bool interrupted = false;
  bool at_line_start = false;  // an empty answer is an empty line
  const auto print = [&](const std::string& text) {
    if (text.empty()) return true;
    at_line_start = text.ends_with('\n');
    return write_answer(text);
  };
  while (!generation.finished()) {
    if (InterruptScope::take()) {
      interrupted = true;
      generation.cancel();
      break;
    }
    const std::optional<TextDelta> delta = generation.next(kLookForInterrupt);
    if (delta && !sync && !print(delta->text)) return AnswerEnd::kReaderGone;
  }
  if (sync && !interrupted && !print(generation.text())) return AnswerEnd::kReaderGone;
  if (!at_line_start && !write_answer("\n")) return AnswerEnd::kReaderGone;
  if (verbose) print_timings(generation.timings());
  return interrupted ? AnswerEnd::kInterrupted : AnswerEnd::kDone;
}

}  // namespace chatglm::cli
