// Which cache page belongs to whom: integers only, no memory. Free list, reference counts and the
// prefix cache: a full page's content is identified by the hash of all tokens up to its end, so a
// sequence that begins with the same tokens shares the page.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

namespace chatglm {

using PageId = int32_t;

class BlockAllocator {
 public:
  // max_pages: the budget; page_tokens: positions a page holds.
  BlockAllocator(int64_t max_pages, int64_t page_tokens);

  int64_t max_pages() const;
  int64_t page_tokens() const;
  int64_t num_free() const;       // pages that allocate() can still give, cached ones included
  int64_t num_used() const;       // pages somebody references
  // The number of page ids ever given out: pages [0, high_water) need memory.
  int64_t high_water() const;

  // A page with one reference. Prefers never-cached free pages, then evicts the least recently used
  // cached page nobody references. Returns -1 where none is left.
  PageId allocate();
  void add_reference(PageId page);
  // Drops one reference; a published page without references stays cached until it is evicted.
  void release(PageId page);

  // Says that `page` now holds the block whose whole-prefix tokens are `prefix` (a multiple of
  // page_tokens long; the page holds its last page_tokens). Keeps the first page of equal content.
  void publish(PageId page, std::span<const int32_t> prefix);
  // The longest chain of published pages that holds a prefix of `tokens`; each gets one reference.
  // Hash matches are verified against the stored tokens: a collision can't hand out wrong content.
  std::vector<PageId> match_prefix(std::span<const int32_t> tokens);
  // Forgets all cached content nobody references.
  void clear_cache();

 private:
  struct Page {
    int32_t references = 0;
    PageId parent = -1;              // page of the preceding block, while published
    uint64_t hash = 0;               // of the whole prefix; 0: not published
    std::vector<int32_t> tokens;     // of this block, while published
    std::list<PageId>::iterator lru; // position in evictable_, valid when published and unreferenced
  };
  int64_t max_pages_;
  int64_t page_tokens_;
  std::vector<Page> pages_;          // grows up to max_pages_
  std::vector<PageId> free_;         // pages with no content worth keeping
  std::list<PageId> evictable_;      // published, unreferenced, least recently used first
  std::unordered_map<uint64_t, PageId> published_;
};

}  // namespace chatglm
