// Tiles of keys and values on their way from the pages to the matrix instructions: copied to shared
// memory behind the computation, and as halves in swizzled rows in the end. Knows pages and storage
// types, nothing of scores.
#pragma once

#include <cuda_fp16.h>

#include <cstring>

#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {

template <typename To, typename From>
__device__ __forceinline__ To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

// Slots of a tile; of the widest heads fewer, so that two tiles fit.
template <int kDim>
inline constexpr int kTileSlots = kDim <= 128 ? 64 : 32;

// Where 8 halves of a row lie, in halves: rows of kDim, their chunks of 16 bytes exchanged so that
// the same chunk of 8 consecutive rows is in 8 different banks.
template <int kDim>
__device__ __forceinline__ int swizzled(int row, int chunk) {
  return row * kDim + ((chunk ^ (row & 7)) << 3);
}

// Rows of kDim halves (head_dim, then zeros) of the slots of a tile, zeros for slots that no row
// sees. f16: two tiles, one is computed with while the other arrives.
template <DType kType, int kDim, int kThreads>
struct CacheTiles {
  static_assert(kType == DType::kF16);
  static constexpr int kSlots = kTileSlots<kDim>;
  static constexpr float kKeysFactor = 1;  // keys are stored times 1 / this

  alignas(128) __half keys_of[2][kSlots * kDim];
  alignas(128) __half values_of[2][kSlots * kDim];

  // Starts to copy `seen` slots, whose keys begin at addresses[0..seen).
  __device__ __forceinline__ void begin_copy(const AttentionCall& call, int stage,
                                             const std::byte* const* addresses, int seen) {
    constexpr int kChunks = kDim / 8;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kSlots * kChunks; i += kThreads) {
      const int slot = i / kChunks, chunk = i % kChunks;
      const int bytes = slot < seen && chunk * 8 < call.head_dim ? 16 : 0;
      const std::byte* from = addresses[slot] + (bytes > 0 ? chunk * 16 : 0);
      const int to = swizzled<kDim>(slot, chunk);
      cp_async_16_zfill(keys_of[stage] + to, from, bytes);
      cp_async_16_zfill(values_of[stage] + to, from + call.plane_bytes, bytes);
    }
    cp_async_commit();
  }
  // After the copy, by all threads: makes the tile ready. A barrier follows where it returns true.
  __device__ __forceinline__ bool open(const AttentionCall&, int, int) { return false; }

  __device__ __forceinline__ const __half* keys(int stage) const { return keys_of[stage]; }
  __device__ __forceinline__ const __half* values(int stage) const { return values_of[stage]; }
};

// q8_0: the blocks as they are stored arrive in two tiles, and are opened into one.
template <int kDim, int kThreads>
struct CacheTiles<DType::kQ8_0, kDim, kThreads> {
  static constexpr int kSlots = kTileSlots<kDim>;
  static constexpr int kBlock = 32, kBlockBytes = 34;
  static constexpr int kRowBytes = kDim / kBlock * kBlockBytes;
  // A key may be 127 times the largest half.
  static constexpr float kKeysFactor = 128;

  alignas(16) std::byte stored_keys[2][kSlots * kRowBytes];
  alignas(16) std::byte stored_values[2][kSlots * kRowBytes];
  alignas(128) __half opened_keys[kSlots * kDim];
  alignas(128) __half opened_values[kSlots * kDim];

  __device__ __forceinline__ void begin_copy(const AttentionCall& call, int stage,
                                             const std::byte* const* addresses, int seen) {
    // Four slots of a page are whole chunks of 16 bytes.
    constexpr int kChunks = 4 * kRowBytes / 16;
    const int bytes = 4 * call.token_bytes;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kSlots / 4 * kChunks; i += kThreads) {
      const int slot = i / kChunks * 4, byte = i % kChunks * 16;
      if (slot >= seen || byte >= bytes) continue;
      const std::byte* from = addresses[slot] + byte;
      const int to = slot * kRowBytes + byte;
      cp_async_16(stored_keys[stage] + to, from);
      cp_async_16(stored_values[stage] + to, from + call.plane_bytes);
    }
    cp_async_commit();
  }

  __device__ __forceinline__ bool open(const AttentionCall& call, int stage, int seen) {
    constexpr int kChunks = kDim / 8;
    const __half2 bias = __float2half2_rn(-1152), factor = __float2half2_rn(1 / kKeysFactor);
    const __half2 scaled_bias = __float2half2_rn(-1152 / kKeysFactor);
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kSlots * kChunks; i += kThreads) {
      const int slot = i / kChunks, chunk = i % kChunks;
      const int at =
          slot / 4 * 4 * kRowBytes + slot % 4 * call.token_bytes + chunk / 4 * kBlockBytes;
      const bool present = slot < seen && chunk * 8 < call.head_dim;
      alignas(16) __half2 key[4], value[4];
      for (int pair = 0; pair < 4; ++pair) {
        key[pair] = value[pair] = __float2half2_rn(0);
        if (!present) continue;
        const int codes = at + 2 + chunk % 4 * 8 + pair * 2;
        key[pair] =
            __hmul2(__hfma2(codes_plus_1152(stored_keys[stage] + codes), factor, scaled_bias),
                    scale(stored_keys[stage] + at));
        value[pair] = __hmul2(__hadd2(codes_plus_1152(stored_values[stage] + codes), bias),
                              scale(stored_values[stage] + at));
      }
      const int to = swizzled<kDim>(slot, chunk);
      *reinterpret_cast<uint4*>(opened_keys + to) = *reinterpret_cast<const uint4*>(key);
      *reinterpret_cast<uint4*>(opened_values + to) = *reinterpret_cast<const uint4*>(value);
    }
    return true;
  }

  __device__ __forceinline__ const __half* keys(int) const { return opened_keys; }
  __device__ __forceinline__ const __half* values(int) const { return opened_values; }

 private:
  // Two signed bytes, as halves of 1024 + (code + 128): exact, without a conversion.
  static __device__ __forceinline__ __half2 codes_plus_1152(const std::byte* codes) {
    const uint32_t both = *reinterpret_cast<const uint16_t*>(codes);
    return same_bits<__half2>((((both & 0xff00u) << 8) | (both & 0xffu)) ^ 0x64806480u);
  }
  static __device__ __forceinline__ __half2 scale(const std::byte* block) {
    return __half2half2(*reinterpret_cast<const __half*>(block));
  }
};

// Walks the tiles of a block's partitions and keeps one more on its way.
template <DType kType, int kDim, int kThreads>
struct CacheWalk {
  using Tiles = CacheTiles<kType, kDim, kThreads>;
  static constexpr int kSlots = Tiles::kSlots;
  static constexpr int kTilesPerPartition = kPartition / kSlots;

  Tiles tiles;
  const std::byte* addresses[2][kSlots];  // of the keys of two tiles

  // tile: counted from slot 0 of the sequence
  static __device__ __forceinline__ const std::byte* address(const AttentionCall& call,
                                                             const BlockWork& work, int tile) {
    return key_address(call, work, tile * kSlots + static_cast<int>(threadIdx.x) % kSlots);
  }
  __device__ __forceinline__ void keep_address(int tile, const std::byte* of_slot) {
    if (static_cast<int>(threadIdx.x) < kSlots) addresses[tile & 1][threadIdx.x] = of_slot;
  }
  __device__ __forceinline__ void begin_copy(const AttentionCall& call, const BlockWork& work,
                                             int tile) {
    tiles.begin_copy(call, tile & 1, addresses[tile & 1], work.visible - tile * kSlots);
  }

  // Before run(): starts the first copy.
  __device__ __forceinline__ void begin(const AttentionCall& call, const BlockWork& work) {
    const int first = work.first_partition * kTilesPerPartition;
    keep_address(first, address(call, work, first));
    keep_address(first + 1, address(call, work, first + 1));
    __syncthreads();
    grid_dependency_wait();  // pages of the cache are written by kernels, tables of them are not
    begin_copy(call, work, first);
  }

  // on_tile(first slot, keys, values) for every tile in ascending order, all threads together, and
  // on_partition(partition) behind each partition's last.
  template <typename OnTile, typename OnPartition>
  __device__ __forceinline__ void run(const AttentionCall& call, const BlockWork& work,
                                      const OnTile& on_tile, const OnPartition& on_partition) {
    const int first = work.first_partition * kTilesPerPartition;
    const int seen = (work.visible + kSlots - 1) / kSlots;
    const int most = work.end_partition * kTilesPerPartition;
    const int end = seen < most ? seen : most;
#pragma unroll 1
    for (int tile = first; tile < end; ++tile) {
      cp_async_wait<0>();
      __syncthreads();  // the tile is there; nobody uses the one before, or its addresses
      if (tile + 1 < end) begin_copy(call, work, tile + 1);
      // Asked for now, needed after the computation.
      const std::byte* const later = address(call, work, tile + 2);
      if (tiles.open(call, tile & 1, work.visible - tile * kSlots)) __syncthreads();
      on_tile(tile * kSlots, tiles.keys(tile & 1), tiles.values(tile & 1));
      keep_address(tile, later);
      if (tile + 1 == end || (tile + 1) % kTilesPerPartition == 0) {
        on_partition(tile / kTilesPerPartition);
      }
    }
  }
};

}  // namespace chatglm::kernels::cuda
