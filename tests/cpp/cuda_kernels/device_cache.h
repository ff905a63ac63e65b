// A paged cache and the rows of a batch in device memory, copied from a PagedCase.
#pragma once

#include "cuda_kernels/test_support.h"
#include "kernels/paged_case.h"

namespace chatglm::kernels::cuda {

class DeviceCache {
 public:
  explicit DeviceCache(const PagedCase& host)
      : host_(host.ragged()),
        view_(host.view()),
        memory_(host.memory().values()),
        pages_(device_pages(host)),
        slots_(copied(host_.slots, host_.rows)),
        visible_(copied(host_.visible, host_.rows)),
        sequence_(copied(host_.sequence, host_.rows)),
        block_table_(used_blocks(host)) {
    view_.pages = pages_.data();
  }

  const PagedKvView& view() const { return view_; }
  RaggedRows ragged(int64_t first_row, int64_t count) const {
    return {slots_.data() + first_row, visible_.data() + first_row, sequence_.data() + first_row,
            block_table_.data(),       host_.block_table_stride,    count};
  }
  std::vector<std::byte> bytes() const { return memory_.values(); }

 private:
  static std::vector<int32_t> copied(const int32_t* values, int64_t count) {
    return {values, values + count};
  }
  std::vector<std::byte*> device_pages(const PagedCase& host) const {
    std::vector<std::byte*> pages;
    for (int64_t page = 0; page < host.num_sequences() * host_.block_table_stride; ++page) {
      pages.push_back(memory_.data() + (host.view().pages[page] - host.memory().data()));
    }
    return pages;
  }
  // Blocks that hold nothing have no page: entries that nobody may follow.
  std::vector<int32_t> used_blocks(const PagedCase& host) const {
    std::vector<int32_t> table;
    for (int64_t s = 0; s < host.num_sequences(); ++s) {
      for (int64_t block = 0; block < host_.block_table_stride; ++block) {
        const bool is_used = block * view_.page_tokens < host.length(s);
        table.push_back(is_used ? host_.block_table[s * host_.block_table_stride + block]
                                : 1 << 28);
      }
    }
    return table;
  }

  RaggedRows host_;
  PagedKvView view_;
  DeviceArray<std::byte> memory_;
  DeviceArray<std::byte*> pages_;
  DeviceArray<int32_t> slots_, visible_, sequence_, block_table_;
};

}  // namespace chatglm::kernels::cuda
