// Brings stored matrices into a GPU's memory: threads pack rows into one of two pinned pieces of
// host memory while the device copies from the other. Owns those pieces.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "backend/cuda_owned.h"
#include "base/thread_pool.h"
#include "kernels/cuda/weight_layout.h"

namespace chatglm::cuda {

class Loader {
 public:
  // All of them outlive the loader.
  Loader(ThreadPool& threads, cudaStream_t stream) : threads_(threads), stream_(stream) {}

  // Enqueues the rows of `parts`, one below the other (one type, one number of columns), as
  // `layout` wants them at `destination` (layout.size_bytes). The sources were read when this
  // returns; after_rows, unless nullptr, was called by the threads for all of them. Returns what
  // fits_half() says of all rows.
  bool load(std::span<const TensorView> parts, const kernels::cuda::WeightLayout& layout,
            std::byte* destination, Backend::ReleaseHint after_rows, void* context);
  // Gives the pinned memory back until it is needed again.
  void release();

 private:
  struct Piece {
    PinnedMemory memory;
    Event copied;  // recorded behind the copies from it
    bool is_in_use = false;
  };

  // Waits until the next piece is free; room for size_bytes.
  Piece& next_piece(int64_t size_bytes);

  ThreadPool& threads_;
  const cudaStream_t stream_;
  Piece pieces_[2];
  int next_ = 0;
};

}  // namespace chatglm::cuda
