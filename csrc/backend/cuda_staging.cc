#include "backend/cuda_staging.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace chatglm::cuda {
namespace {

constexpr int64_t kAlignment = 256;
constexpr int64_t kLeastStride = 64;  // 1,024 positions
constexpr int64_t kTileBytes = sizeof(kernels::cuda::RowTile);

int64_t aligned(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int64_t bytes_of(std::size_t count) {
  return static_cast<int64_t>(count * sizeof(int32_t));
}

}  // namespace

StagedBatch Staging::stage(const Batch& batch) {
  const auto rows = static_cast<std::size_t>(batch.rows());
  const int64_t table_rows =
      batch.block_table_stride == 0
          ? 0
          : static_cast<int64_t>(batch.block_table.size()) / batch.block_table_stride;
  table_stride_ = std::max(
      kLeastStride,
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(batch.block_table_stride))));
  const int64_t table_bytes = table_rows * table_stride_ * int64_t{sizeof(int32_t)};
  make_room(5 * aligned(bytes_of(rows)) + aligned(bytes_of(batch.logit_rows.size())) +
            aligned(batch.rows() * kTileBytes) + table_bytes);

  int64_t offset = 0;
  StagedBatch staged{};
  staged.token_ids = put(offset, batch.token_ids);
  staged.positions = put(offset, batch.positions);
  staged.rows.slots = put(offset, batch.slots);
  staged.rows.visible = put(offset, batch.visible);
  staged.rows.sequence = put(offset, batch.sequence);
  staged.logit_rows = put(offset, batch.logit_rows);
  staged.num_logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  tiles_offset_ = offset;
  offset += aligned(batch.rows() * kTileBytes);
  // Last: how long it is changes nothing for the others. What fills its rows up is never read.
  staged.rows.block_table = reinterpret_cast<const int32_t*>(device_.data() + offset);
  staged.rows.block_table_stride = table_stride_;
  staged.rows.rows = batch.rows();
  auto* const table = reinterpret_cast<int32_t*>(host() + offset);
  for (int64_t row = 0; row < table_rows; ++row) {
    std::copy_n(batch.block_table.data() + row * batch.block_table_stride, batch.block_table_stride,
                table + row * table_stride_);
  }
  size_bytes_ = offset + table_bytes;
  sequence_ = host_copy(staged.rows.sequence, batch.rows());
  visible_ = host_copy(staged.rows.visible, batch.rows());
  is_flushed_ = false;
  return staged;
}

void Staging::make_room(int64_t size_bytes) {
  current_ = 1 - current_;
  Side& side = sides_[current_];
  wait(side);
  if (side.copied.get() == nullptr) side.copied = make_event();
  const int64_t larger = std::max(size_bytes, 2 * device_.size_bytes());
  if (device_.size_bytes() < size_bytes) {
    device_ = DeviceMemory();  // waits for the device
    device_ = DeviceMemory(larger);
  }
  if (side.memory.size_bytes() < size_bytes) {
    side.memory = PinnedMemory();
    side.memory = PinnedMemory(device_.size_bytes());
  }
}

const int32_t* Staging::put(int64_t& offset, std::span<const int32_t> values) {
  if (!values.empty()) std::memcpy(host() + offset, values.data(), values.size_bytes());
  const auto* device_array = reinterpret_cast<const int32_t*>(device_.data() + offset);
  offset += aligned(bytes_of(values.size()));
  return device_array;
}

void Staging::set_tiles(std::span<const kernels::cuda::RowTile> tiles) {
  const auto size = static_cast<std::size_t>(tiles.size_bytes());
  if (!is_flushed_) {
    std::memcpy(host() + tiles_offset_, tiles.data(), size);
    return;
  }
  wait(sides_[current_]);  // it may still be copied
  std::memcpy(host() + tiles_offset_, tiles.data(), size);
  check(cudaMemcpyAsync(device_.data() + tiles_offset_, host() + tiles_offset_, size,
                        cudaMemcpyHostToDevice, stream_),
        "stage");
  check(cudaEventRecord(sides_[current_].copied.get(), stream_), "stage");
  sides_[current_].is_in_use = true;
}

void Staging::flush() {
  if (is_flushed_) return;
  is_flushed_ = true;
  if (size_bytes_ == 0) return;
  check(cudaMemcpyAsync(device_.data(), host(), static_cast<std::size_t>(size_bytes_),
                        cudaMemcpyHostToDevice, stream_),
        "stage");
  check(cudaEventRecord(sides_[current_].copied.get(), stream_), "stage");
  sides_[current_].is_in_use = true;
}

void Staging::wait(Side& side) {
  if (side.is_in_use) check(cudaEventSynchronize(side.copied.get()), "stage");
  side.is_in_use = false;
}

const kernels::cuda::RowTile* Staging::device_tiles() const {
  return reinterpret_cast<const kernels::cuda::RowTile*>(device_.data() + tiles_offset_);
}

std::span<const int32_t> Staging::host_copy(const int32_t* device_array, int64_t count) const {
  const auto* const begin = reinterpret_cast<const std::byte*>(device_array);
  const std::byte* const end = begin + bytes_of(static_cast<std::size_t>(count));
  if (std::less<>()(begin, device_.data()) ||
      std::less<>()(device_.data() + device_.size_bytes(), end)) {
    return {};
  }
  const auto* const copy = reinterpret_cast<const int32_t*>(host() + (begin - device_.data()));
  return {copy, static_cast<std::size_t>(count)};
}

}  // namespace chatglm::cuda
