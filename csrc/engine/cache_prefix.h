// What stands in the cache before the first token of every sequence: a trained prefix (P-Tuning
// v2), mostly nothing. Its full pages are shared by all sequences and never given back; what is
// left of it begins a page that each sequence has for itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kv/block_allocator.h"
#include "kv/paged_kv.h"

namespace chatglm {

struct CachePrefix {
  int64_t length = 0;           // slots
  int64_t first_position = 0;   // of a sequence's first token, as the model counts
  std::vector<PageId> pages;    // full ones, each with a reference
  std::vector<std::byte> tail;  // the page that the rest begins; empty: there is no rest
};

// Writes the prefix into its pages, given in order.
using PrefixWriter =
    std::function<void(std::span<const kernels::PagedKvView> kv, std::span<const PageId> pages)>;

// Takes pages for a prefix of `length` and has it written. Throws Error{kInvalidArgument} where the
// cache has no room for it and a token, or nobody writes it.
CachePrefix make_cache_prefix(int64_t length, int64_t first_position, BlockAllocator& allocator,
                              PagedKv& kv, const PrefixWriter& write);

}  // namespace chatglm
