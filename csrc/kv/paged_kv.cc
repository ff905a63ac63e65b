// Slabs of cache pages and the table of pointers to them.
#include "kv/paged_kv.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"

namespace chatglm {
namespace {

// Few allocations, and little memory that is taken before it is needed.
constexpr int64_t kSlabPages = 64;
constexpr int64_t kSlabBytes = int64_t{16} << 20;

int64_t checked_product(int64_t a, int64_t b) {
  if (a <= 0 || b <= 0 || a > std::numeric_limits<int64_t>::max() / b) {
    throw Error(ErrorKind::kInvalidArgument,
                "the shape of the KV cache must be positive and below 2^63 bytes, found a product "
                "of " +
                    std::to_string(a) + " and " + std::to_string(b));
  }
  return a * b;
}

}  // namespace

int64_t PagedKv::page_bytes(const KvShape& shape) {
  const DTypeInfo& dtype = dtype_info(shape.dtype);
  if (shape.dtype != DType::kF32 && shape.dtype != DType::kF16 && shape.dtype != DType::kQ8_0) {
    throw Error(ErrorKind::kInvalidArgument,
                "the KV cache can be f32, f16 or q8_0, found " + std::string(dtype.name));
  }
  if (shape.head_dim % dtype.block_elements != 0) {
    throw Error(ErrorKind::kInvalidArgument, "a " + std::string(dtype.name) +
                                                 " KV cache needs a head size divisible by " +
                                                 std::to_string(dtype.block_elements) + ", found " +
                                                 std::to_string(shape.head_dim));
  }
  int64_t bytes = checked_product(shape.head_dim, dtype.block_bytes) / dtype.block_elements;
  bytes = checked_product(bytes, kPageTokens);
  bytes = checked_product(bytes, shape.kv_heads);
  bytes = checked_product(bytes, shape.num_layers);
  return checked_product(bytes, 2);  // K and V
}

std::vector<PageShare> PagedKv::page_shares(const Placement& placement, const KvShape& shape) {
  std::vector<PageShare> shares;
  for (const PlacedLayers& placed : placement.of(shape.num_layers)) {
    KvShape part = shape;
    part.num_layers = placed.count();
    shares.push_back({placed.backend, page_bytes(part)});
  }
  return shares;
}

PagedKv::PagedKv(const Placement& placement, const KvShape& shape, int64_t budget_bytes)
    : shape_(shape),
      page_bytes_(page_bytes(shape)),
      // Page ids are 32-bit.
      max_pages_(
          std::min<int64_t>(budget_bytes / page_bytes_, std::numeric_limits<int32_t>::max())) {
  if (max_pages_ < 1) {
    throw Error(ErrorKind::kInvalidArgument,
                "the KV cache needs at least one page of " + std::to_string(page_bytes_) +
                    " bytes (" + std::to_string(kPageTokens) + " positions), but its budget is " +
                    std::to_string(budget_bytes));
  }
  for (const PlacedLayers& placed : placement.of(shape.num_layers)) {
    KvShape part = shape;
    part.num_layers = placed.count();
    parts_.push_back({placed.backend, page_bytes(part), {}, {}, nullptr});
    views_.push_back({.pages = nullptr,
                      .dtype = shape.dtype,
                      .page_tokens = kPageTokens,
                      .kv_heads = shape.kv_heads,
                      .head_dim = shape.head_dim,
                      .num_layers = part.num_layers});
  }
}

int64_t PagedKv::allocated_bytes() const {
  return num_pages_ * page_bytes_;
}

void PagedKv::grow(int64_t count) {
  if (count > max_pages_) {
    throw Error(ErrorKind::kInvalidArgument, "the KV cache has " + std::to_string(max_pages_) +
                                                 " pages, " + std::to_string(count) +
                                                 " were asked for");
  }
  const int64_t slab_pages = std::clamp<int64_t>(kSlabBytes / page_bytes_, 1, kSlabPages);
  while (num_pages_ < count) {
    const int64_t pages = std::min(num_pages_ + slab_pages, max_pages_);
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      parts_[i].grow(pages);  // or has them from an attempt that failed on another backend
      views_[i].pages = parts_[i].device_pointers->as<std::byte*>();
    }
    num_pages_ = pages;
  }
}

void PagedKv::Part::grow(int64_t pages) {
  const auto allocated = static_cast<int64_t>(page_pointers.size());
  if (pages <= allocated) return;
  const int64_t table_bytes = pages * static_cast<int64_t>(sizeof(std::byte*));
  // Both allocations come first: where one fails, the cache is as it was.
  std::unique_ptr<Buffer> slab = backend->allocate((pages - allocated) * page_bytes);
  std::unique_ptr<Buffer> larger_table;
  if (device_pointers == nullptr || device_pointers->size_bytes() < table_bytes) {
    larger_table = backend->allocate(2 * table_bytes);
  }
  for (int64_t page = allocated; page < pages; ++page) {
    page_pointers.push_back(slab->data() + (page - allocated) * page_bytes);
  }
  slabs.push_back(std::move(slab));
  if (larger_table != nullptr) device_pointers = std::move(larger_table);
  backend->upload(device_pointers->data(), page_pointers.data(), table_bytes);
}

std::vector<std::byte> PagedKv::read_page(int32_t page) const {
  std::vector<std::byte> bytes(static_cast<std::size_t>(page_bytes_));
  std::byte* destination = bytes.data();
  for (const Part& part : parts_) {
    part.backend->download(destination, part.page_pointers[static_cast<std::size_t>(page)],
                           part.page_bytes);
    destination += part.page_bytes;
  }
  return bytes;
}

void PagedKv::write_page(int32_t page, std::span<const std::byte> bytes) {
  const std::byte* source = bytes.data();
  for (const Part& part : parts_) {
    part.backend->upload(part.page_pointers[static_cast<std::size_t>(page)], source,
                         part.page_bytes);
    source += part.page_bytes;
  }
}

}  // namespace chatglm
