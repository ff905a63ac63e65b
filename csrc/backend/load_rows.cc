#include "backend/load_rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/ceil_div.h"

namespace chatglm {
namespace {

// A thread loads this much before it gives the source back and takes more: about one huge page, so
// that two threads seldom touch a new one at once, and the peak of memory grows by little.
constexpr int64_t kChunkBytes = int64_t{2} << 20;

// Rows [begin, end) of a part.
TensorView slice(const TensorView& part, int64_t begin, int64_t end) {
  TensorView rows = part;
  rows.data = part.row(begin);
  rows.rows = end - begin;
  return rows;
}

// Copies rows [begin, end) of stacked parts.
void gather(std::span<const TensorView> parts, int64_t begin, int64_t end, std::byte* destination) {
  int64_t first_row = 0;
  for (const TensorView& part : parts) {
    const int64_t from = std::max(begin, first_row), to = std::min(end, first_row + part.rows);
    if (from < to) {
      const TensorView rows = slice(part, from - first_row, to - first_row);
      std::memcpy(destination + (from - begin) * part.row_bytes(), rows.data,
                  static_cast<std::size_t>(rows.size_bytes()));
    }
    first_row += part.rows;
  }
}

int64_t count_rows(std::span<const TensorView> parts) {
  int64_t rows = 0;
  for (const TensorView& part : parts) rows += part.rows;
  return rows;
}

// The panels that hold rows of two parts or more.
void pack_shared_panels(const kernels::LinearKernel& kernel, std::span<const TensorView> parts,
                        std::byte* packed) {
  const int64_t rows = count_rows(parts), cols = parts[0].cols, panel_rows = kernel.panel_rows;
  std::vector<std::byte> gathered(static_cast<std::size_t>(panel_rows * parts[0].row_bytes()));
  int64_t end_row = 0;
  for (const TensorView& part : parts) {
    end_row += part.rows;
    if (end_row == rows || end_row % panel_rows == 0) continue;
    const int64_t panel = end_row / panel_rows;
    const int64_t count = std::min(panel_rows, rows - panel * panel_rows);
    gather(parts, panel * panel_rows, panel * panel_rows + count, gathered.data());
    kernel.pack(gathered.data(), count, cols, packed + panel * kernel.panel_bytes(cols), 0, 1);
  }
}

}  // namespace

void pack_rows(ThreadPool& threads, const kernels::LinearKernel& kernel,
               std::span<const TensorView> parts, std::byte* packed,
               Backend::ReleaseHint after_rows, void* context) {
  const int64_t rows = count_rows(parts), cols = parts[0].cols, panel_rows = kernel.panel_rows;
  const int64_t panels = ceil_div(rows, panel_rows), panel_bytes = kernel.panel_bytes(cols);
  // First, as long as none of their rows was given back.
  pack_shared_panels(kernel, parts, packed);
  threads.parallel_for(panels, kChunkBytes / panel_bytes, [&](int64_t begin, int64_t end, int) {
    int64_t first_row = 0;
    for (const TensorView& part : parts) {
      const int64_t end_row = first_row + part.rows;
      const int64_t first = std::max(begin, ceil_div(first_row, panel_rows));
      const int64_t last = std::min(end, end_row == rows ? panels : end_row / panel_rows);
      if (first < last) {
        kernel.pack(part.row(first * panel_rows - first_row), end_row - first * panel_rows, cols,
                    packed + first * panel_bytes, 0, last - first);
      }
      const int64_t from = std::max(begin * panel_rows, first_row);
      const int64_t to = std::min(end * panel_rows, end_row);
      if (after_rows != nullptr && from < to) {
        after_rows(context, slice(part, from - first_row, to - first_row));
      }
      first_row = end_row;
    }
  });
}

void copy_rows(ThreadPool& threads, const TensorView& table, std::byte* destination,
               Backend::ReleaseHint after_rows, void* context) {
  const int64_t row_bytes = table.row_bytes();
  threads.parallel_for(table.rows, kChunkBytes / row_bytes, [&](int64_t begin, int64_t end, int) {
    const TensorView rows = slice(table, begin, end);
    std::memcpy(destination + begin * row_bytes, rows.data,
                static_cast<std::size_t>(rows.size_bytes()));
    if (after_rows != nullptr) after_rows(context, rows);
  });
}

}  // namespace chatglm
