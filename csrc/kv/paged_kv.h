// The memory of the paged KV cache: slabs of pages taken from the backends as page ids come into
// use, never more than the budget. A page has a part on every backend, for the layers there. Knows
// no sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "kv/placement.h"

namespace chatglm {

struct KvShape {
  int64_t num_layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF16;  // f32, f16, q8_0
};

class PagedKv {
 public:
  static constexpr int64_t kPageTokens = 16;

  // Bytes of one page, of all layers. Throws Error{kInvalidArgument}: dtype or head_dim is not
  // possible.
  static int64_t page_bytes(const KvShape& shape);

  // What of it each backend holds.
  static std::vector<PageShare> page_shares(const Placement& placement, const KvShape& shape);

  // budget_bytes is rounded down to whole pages.
  // Throws Error{kInvalidArgument}: no page fits, or dtype or head_dim is not possible.
  PagedKv(const Placement& placement, const KvShape& shape, int64_t budget_bytes);

  int64_t page_bytes() const { return page_bytes_; }
  int64_t max_pages() const { return max_pages_; }
  int64_t allocated_bytes() const;

  // Makes sure that pages [0, count) have memory. Throws Error{kDevice} where a backend has none;
  // the pages there were stay as they are.
  void grow(int64_t count);
  // The bytes of a page that has memory, and back: (page_bytes).
  std::vector<std::byte> read_page(int32_t page) const;
  void write_page(int32_t page, std::span<const std::byte> bytes);
  // (parts) the layers of each backend, counted from 0 in each. Valid until the next grow().
  std::span<const kernels::PagedKvView> views() const { return views_; }
  // Of a cache on one backend.
  const kernels::PagedKvView& view() const { return views_.front(); }

 private:
  // The pages' memory on one backend.
  struct Part {
    Backend* backend;
    int64_t page_bytes;
    std::vector<std::unique_ptr<Buffer>> slabs;
    std::vector<std::byte*> page_pointers;  // (pages with memory) on the host
    // (capacity >= pages with memory) the same in the backend
    std::unique_ptr<Buffer> device_pointers;

    void grow(int64_t pages);
  };

  KvShape shape_;
  int64_t page_bytes_ = 0;
  int64_t max_pages_ = 0;
  int64_t num_pages_ = 0;  // with memory on every backend
  std::vector<Part> parts_;
  std::vector<kernels::PagedKvView> views_;  // (parts)
};

}  // namespace chatglm
