#include "engine/cache_prefix.h"

#include <string>

#include "base/error.h"

namespace chatglm {

CachePrefix make_cache_prefix(int64_t length, int64_t first_position, BlockAllocator& allocator,
                              PagedKv& kv, const PrefixWriter& write) {
  CachePrefix prefix;
  if (length == 0) return prefix;
  if (!write) {
    throw Error(ErrorKind::kInvalidArgument,
                "the model has a trained prefix, but nothing that writes it was given");
  }
  const int64_t page_tokens = allocator.page_tokens();
  if (length >= allocator.max_pages() * page_tokens) {
    throw Error(ErrorKind::kInvalidArgument,
                "the KV cache's budget of " + std::to_string(kv.max_pages() * kv.page_bytes()) +
                    " bytes has room for " + std::to_string(allocator.max_pages() * page_tokens) +
                    " positions, but the model's trained prefix alone takes " +
                    std::to_string(length));
  }
  prefix.length = length;
  prefix.first_position = first_position;
  for (int64_t slot = 0; slot < length; slot += page_tokens) {
    prefix.pages.push_back(allocator.allocate());
  }
  kv.grow(allocator.high_water());
  write(kv.views(), prefix.pages);
  if (length % page_tokens != 0) {
    prefix.tail = kv.read_page(prefix.pages.back());
    allocator.release({&prefix.pages.back(), 1});
    prefix.pages.pop_back();
  }
  return prefix;
}

}  // namespace chatglm
