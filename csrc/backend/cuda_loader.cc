#include "backend/cuda_loader.h"

#include <algorithm>
#include <atomic>

#include "kernels/cuda/half_range.h"

namespace chatglm::cuda {
namespace {

// Long enough that starting a copy costs nothing beside it, short enough that the first copy begins
// soon and little memory is pinned.
constexpr int64_t kPieceBytes = int64_t{16} << 20;
// What a thread packs at a time: its source is given back, and others take over, after so much.
constexpr int64_t kGrainBytes = int64_t{512} << 10;

// Calls body(part, rows of it, where they begin among all) for rows [begin, end) of stacked parts.
template <typename Body>
void for_parts(std::span<const TensorView> parts, int64_t begin, int64_t end, const Body& body) {
  int64_t first_row = 0;
  for (const TensorView& part : parts) {
    const int64_t from = std::max(begin, first_row), to = std::min(end, first_row + part.rows);
    if (from < to) {
      TensorView rows = part;
      rows.data = part.row(from - first_row);
      rows.rows = to - from;
      body(rows, from);
    }
    first_row += part.rows;
  }
}

}  // namespace

bool Loader::load(std::span<const TensorView> parts, const kernels::cuda::WeightLayout& layout,
                  std::byte* destination, Backend::ReleaseHint after_rows, void* context) {
  std::atomic<bool> fits = true;
  const auto layout_of = [&](int64_t rows) {
    return kernels::cuda::weight_layout(layout.dtype, rows, layout.k);
  };
  const int64_t row_bytes = layout_of(1).size_bytes;  // at least
  const int64_t most_rows = std::max<int64_t>(1, kPieceBytes / row_bytes);
  for (int64_t first = 0; first < layout.n; first += most_rows) {
    const kernels::cuda::WeightLayout packed = layout_of(std::min(most_rows, layout.n - first));
    Piece& piece = next_piece(packed.size_bytes);
    std::byte* const memory = piece.memory.data();
    threads_.parallel_for(
        packed.n, std::max<int64_t>(1, kGrainBytes / row_bytes),
        [&](int64_t begin, int64_t end, int) {
          for_parts(parts, first + begin, first + end, [&](const TensorView& rows, int64_t row) {
            kernels::cuda::pack_rows(rows.data, rows.rows, packed, row - first, memory);
            if (!kernels::cuda::fits_half(packed, row - first, rows.rows, memory)) fits = false;
            if (after_rows != nullptr) after_rows(context, rows);
          });
        });
    piece.is_in_use = true;
    for (int i = 0; i < kernels::cuda::kWeightStreams; ++i) {
      const int64_t size_bytes = packed.n * packed.streams[i].row_bytes;
      if (size_bytes == 0) continue;
      const kernels::cuda::WeightStream& stream = layout.streams[i];
      check(cudaMemcpyAsync(destination + stream.offset + first * stream.row_bytes,
                            memory + packed.streams[i].offset, static_cast<std::size_t>(size_bytes),
                            cudaMemcpyHostToDevice, stream_),
            "load");
    }
    check(cudaEventRecord(piece.copied.get(), stream_), "load");
  }
  return fits;
}

Loader::Piece& Loader::next_piece(int64_t size_bytes) {
  Piece& piece = pieces_[next_];
  next_ = 1 - next_;
  if (piece.is_in_use) check(cudaEventSynchronize(piece.copied.get()), "load");
  piece.is_in_use = false;
  if (piece.copied.get() == nullptr) piece.copied = make_event();
  if (piece.memory.size_bytes() < size_bytes) {
    // Small models pin little, large ones soon a whole piece.
    const int64_t twice = std::min(2 * piece.memory.size_bytes(), kPieceBytes);
    piece.memory = PinnedMemory();  // first, so that old and new never stand side by side
    piece.memory = PinnedMemory(std::max(size_bytes, twice));
  }
  return piece;
}

void Loader::release() {
  for (Piece& piece : pieces_) {
    if (piece.is_in_use) check(cudaEventSynchronize(piece.copied.get()), "load");
    piece = Piece();
  }
}

}  // namespace chatglm::cuda
