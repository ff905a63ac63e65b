#include "emulation/reports.h"

#include <mutex>
#include <utility>

namespace cuda_emulation {
namespace {

// A broken kernel breaks the same rule many times.
constexpr std::size_t kMostKept = 16;

struct Reports {
  std::mutex mutex;
  std::vector<std::string> kept;
  std::size_t count = 0;
};

Reports& reports() {
  static Reports all;
  return all;
}

}  // namespace

void add_report(std::string sentence) {
  Reports& all = reports();
  const std::lock_guard lock(all.mutex);
  ++all.count;
  if (all.kept.size() < kMostKept) all.kept.push_back(std::move(sentence));
}

std::size_t report_count() {
  Reports& all = reports();
  const std::lock_guard lock(all.mutex);
  return all.count;
}

std::string all_reports() {
  Reports& all = reports();
  const std::lock_guard lock(all.mutex);
  std::string text;
  for (const std::string& sentence : all.kept) text += sentence + '\n';
  return text;
}

std::vector<std::string> take_kept_reports() {
  Reports& all = reports();
  const std::lock_guard lock(all.mutex);
  return std::exchange(all.kept, {});
}

}  // namespace cuda_emulation
