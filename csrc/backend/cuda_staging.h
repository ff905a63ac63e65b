// The index arrays of a step on the device: packed into pinned memory and copied as one piece.
// Where an array lies depends on the numbers of rows only, so that a recorded step finds those of
// the next one in the same place.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "backend/cuda_owned.h"
#include "kernels/cuda/attention.h"

namespace chatglm::cuda {

class Staging {
 public:
  explicit Staging(cudaStream_t stream) : stream_(stream) {}

  // Packs a batch that was checked; the arrays are on the device behind flush(). Memory grows to
  // the largest batch seen.
  StagedBatch stage(const Batch& batch);
  // Adds the tiles of the batch's attention, at most as many as rows, instead of those before.
  void set_tiles(std::span<const kernels::cuda::RowTile> tiles);
  // Copies what is not on the device yet.
  void flush();

  // The batch that was staged last, on the host and on the device.
  std::span<const int32_t> sequence() const { return sequence_; }
  std::span<const int32_t> visible() const { return visible_; }
  const kernels::cuda::RowTile* device_tiles() const;
  // Elements from one row of the block table to the next: the batch's, rounded up to a power of
  // two.
  int64_t table_stride() const { return table_stride_; }
  // Changes when the memory on the device does.
  const std::byte* device_begin() const { return device_.data(); }
  // The host's copy of an array on the device, or of a part of it; empty: it is none of these.
  std::span<const int32_t> host_copy(const int32_t* device_array, int64_t count) const;

 private:
  // Pinned memory that the device copies from; the next step packs into the other one meanwhile.
  struct Side {
    PinnedMemory memory;
    Event copied;
    bool is_in_use = false;
  };

  void make_room(int64_t size_bytes);
  const int32_t* put(int64_t& offset, std::span<const int32_t> values);
  void wait(Side& side);
  std::byte* host() const { return sides_[current_].memory.data(); }

  const cudaStream_t stream_;
  DeviceMemory device_;
  Side sides_[2];
  int current_ = 0;
  bool is_flushed_ = true;
  int64_t size_bytes_ = 0;    // of the batch
  int64_t tiles_offset_ = 0;  // bytes
  int64_t table_stride_ = 0;
  std::span<const int32_t> sequence_, visible_;
};

}  // namespace chatglm::cuda
