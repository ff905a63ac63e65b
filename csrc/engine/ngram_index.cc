// See ngram_index.h. Open addressing with linear probing.
#include "engine/ngram_index.h"

#include <algorithm>
#include <utility>

namespace chatglm {

NgramIndex::NgramIndex() {
  for (int64_t length = kLongest; length >= kShortest; --length) tables_.emplace_back(length);
}

NgramIndex::Match NgramIndex::find(std::span<const int32_t> tokens) {
  const auto size = static_cast<int64_t>(tokens.size());
  // The n-gram at the very end has no next token yet: it is what is looked for.
  for (; num_indexed_ < size - 1; ++num_indexed_) {
    for (Table& table : tables_) {
      if (num_indexed_ + 1 >= table.length()) table.put(tokens, num_indexed_ + 1);
    }
  }
  for (const Table& table : tables_) {
    if (size <= table.length()) continue;
    if (const int64_t next = table.find(tokens, size); next > 0) return {table.length(), next};
  }
  return {};
}

void NgramIndex::Table::put(std::span<const int32_t> tokens, int64_t end) {
  if (2 * (size_ + 1) > ends_.size()) grow(tokens);
  int32_t& slot = ends_[slot_of(tokens, end)];
  if (slot == 0) ++size_;
  slot = static_cast<int32_t>(end);
}

int64_t NgramIndex::Table::find(std::span<const int32_t> tokens, int64_t end) const {
  return ends_.empty() ? 0 : ends_[slot_of(tokens, end)];
}

// The slot of this n-gram, or the free one where it would stand.
std::size_t NgramIndex::Table::slot_of(std::span<const int32_t> tokens, int64_t end) const {
  const auto ngram = [&](int64_t behind) {
    return tokens.subspan(static_cast<std::size_t>(behind - length_),
                          static_cast<std::size_t>(length_));
  };
  const std::span<const int32_t> wanted = ngram(end);
  uint64_t hash = 0;
  for (const int32_t token : wanted) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  const std::size_t mask = ends_.size() - 1;
  std::size_t slot = static_cast<std::size_t>(hash) & mask;
  while (ends_[slot] != 0 && !std::ranges::equal(ngram(ends_[slot]), wanted)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

void NgramIndex::Table::grow(std::span<const int32_t> tokens) {
  constexpr std::size_t kFirstSize = 64;
  std::vector<int32_t> old(std::max(kFirstSize, 2 * ends_.size()), 0);
  std::swap(old, ends_);
  for (const int32_t end : old) {
    if (end != 0) ends_[slot_of(tokens, end)] = end;
  }
}

}  // namespace chatglm
