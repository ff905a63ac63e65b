// Scores, weights and weighted values of 16 product rows in the fragments of mma.m16n8k16: lane l
// holds of rows l / 4 and l / 4 + 8 the columns 2 (l % 4) and the next of every 8. Every element is
// computed by the same operations in the same order whichever warp does it, so that kernels of
// different tiles give the same bits.
#pragma once

#include <cuda_fp16.h>

#include "kernels/cuda/attention_cache.cuh"
#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {

// The same number, of which the compiler knows nothing: what is derived from it inside of a loop is
// derived there, and takes no registers throughout.
__device__ __forceinline__ int unknown(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

__device__ __forceinline__ float largest_of_quad(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}

__device__ __forceinline__ uint32_t packed(float low, float high) {
  return same_bits<uint32_t>(__floats2half2_rn(low, high));
}

// The queries of 16 product rows, each row times a power of two that brings its largest element
// near the top of the range of halves.
template <int kDim>
struct Queries {
  uint32_t a[kDim / 16][4];
  float factor[2];  // of a product with them: the score in powers of two

  __device__ __forceinline__ void load(const AttentionCall& call, const ProductRow (&rows)[2],
                                       int lane, float keys_factor) {
    float power[2];
    for (int r = 0; r < 2; ++r) {
      float most = 0;
      for (int i = lane % 4; i < call.head_dim && rows[r].visible > 0; i += 4) {
        most = fmaxf(most, fabsf(query_of(call, rows[r])[i]));
      }
      most = largest_of_quad(most);
      int exponent = most > 0 ? ilogbf(most) : 0;
      if (exponent < -100) exponent = -100;
      if (exponent > 127) exponent = 127;  // not finite
      power[r] = ldexpf(1, 14 - exponent);
      factor[r] = ldexpf(call.scale, exponent - 14) * keys_factor;
    }
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = step * 16 + i / 2 * 8 + lane % 4 * 2;
        const ProductRow& row = rows[i % 2];
        a[step][i] = 0;
        if (row.visible > 0 && column < call.head_dim) {
          const float* const query = query_of(call, row) + column;
          a[step][i] = packed(query[0] * power[i % 2], query[1] * power[i % 2]);
        }
      }
    }
  }
};

// Products of the queries with the keys of slots first, first + 1, ...: two columns of 8 slots for
// each pair.
template <int kDim, int kPairs>
__device__ __forceinline__ void multiply_keys(const Queries<kDim>& queries, const __half* keys,
                                              int first, int lane, float (&scores)[2 * kPairs][4]) {
#pragma unroll
  for (int column = 0; column < 2 * kPairs; ++column) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[column][i] = 0;
  }
  const int own = unknown(swizzled<kDim>(first + lane / 16 * 8 + lane % 8, lane / 8 % 2));
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      uint32_t b[4];
      ldmatrix_x4(b, keys + pair * 16 * kDim + (own ^ swizzled<kDim>(0, step * 2)));
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      mma_f16_16x8x16(scores[2 * pair], queries.a[step], low);
      mma_f16_16x8x16(scores[2 * pair + 1], queries.a[step], high);
    }
  }
}

// Slots that a row does not see. visible: slots, of the lane's rows; first: slot of the first
// column
template <int kColumns>
__device__ __forceinline__ void hide_unseen(float (&scores)[kColumns][4], const int (&visible)[2],
                                            int first, int lane) {
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int slot = first + column * 8 + lane % 4 * 2 + i % 2;
      if (slot >= visible[i / 2]) scores[column][i] = minus_infinity();
    }
  }
}

// The largest product of each row in these columns.
template <int kColumns>
__device__ __forceinline__ void largest_products(const float (&scores)[kColumns][4],
                                                 float (&largest)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    largest[r] = minus_infinity();
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      largest[r] = fmaxf(largest[r], fmaxf(scores[column][2 * r], scores[column][2 * r + 1]));
    }
    largest[r] = largest_of_quad(largest[r]);
  }
}

// One partition's online softmax, of kColumns * 8 columns of values.
template <int kColumns>
struct Softmax {
  float largest[2];  // product: the score by its factor
  float weight[4];   // sums of the weights: [0] of the first row, [2] of the second
  float values[kColumns][4];

  __device__ __forceinline__ void clear() {
    largest[0] = largest[1] = minus_infinity();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      weight[i] = 0;
#pragma unroll
      for (int column = 0; column < kColumns; ++column) values[column][i] = 0;
    }
  }

  // Takes in the largest products of the next tile.
  __device__ __forceinline__ void raise(const float (&products)[2], const float (&factor)[2]) {
    float shrink[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float before = largest[r];
      largest[r] = fmaxf(before, products[r]);
      shrink[r] = exp2f((before - largest[r]) * factor[r]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      weight[i] *= shrink[i / 2];
#pragma unroll
      for (int column = 0; column < kColumns; ++column) values[column][i] *= shrink[i / 2];
    }
  }

  // The weights of two products of row r.
  __device__ __forceinline__ uint32_t weights(float first, float second, float factor,
                                              int r) const {
    return packed(exp2_approx((first - largest[r]) * factor),
                  exp2_approx((second - largest[r]) * factor));
  }

  // Adds the values of 16 slots in columns of 8. own: what value_offset() says of the first.
  template <int kDim>
  __device__ __forceinline__ void add(const uint32_t (&a)[4], const __half* of_slots, int own) {
    static_assert(kColumns % 2 == 0);
    constexpr uint32_t kOnes = 0x3c003c00u;
    const uint32_t ones[2] = {kOnes, kOnes};
    mma_f16_16x8x16(weight, a, ones);
#pragma unroll
    for (int column = 0; column < kColumns; column += 2) {
      uint32_t b[4];
      ldmatrix_x4_trans(b, of_slots + (own ^ swizzled<kDim>(0, column)));
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      mma_f16_16x8x16(values[column], a, low);
      mma_f16_16x8x16(values[column + 1], a, high);
    }
  }
};

// What the lane reads of 16 slots' values, from column 8 * first_chunk on: an offset in halves.
template <int kDim>
__device__ __forceinline__ int value_offset(int first_chunk, int lane) {
  return unknown(swizzled<kDim>(lane % 16, first_chunk + lane / 16));
}

// All partitions' until now. The last kInShared columns are kept in shared memory, where they cost
// no registers while a partition is computed.
template <int kColumns, int kInShared, int kThreads>
struct Total {
  float largest[2];
  float weight[2];
  float values[kColumns - kInShared + 1][4];  // one more: arrays of no elements are none
  float4 (*shared)[kThreads];                 // (kInShared, kThreads)

  __device__ __forceinline__ void clear(float4 (*in_shared)[kThreads]) {
    shared = in_shared;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      largest[r] = minus_infinity();
      weight[r] = 0;
    }
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      const float zeros[4] = {0, 0, 0, 0};
      put(column, zeros);
    }
  }

  // Adds a partition's, to the rows that see slots from `begin` on.
  __device__ __forceinline__ void merge(const Softmax<kColumns>& part, const float (&factor)[2],
                                        const int (&visible)[2], int begin) {
    MergeFactors factors[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      factors[r] = merge_factors(largest[r], part.largest[r] * factor[r]);
      if (begin >= visible[r]) continue;
      largest[r] = factors[r].largest;
      weight[r] = merged(weight[r], part.weight[2 * r], factors[r]);
    }
#pragma unroll
    for (int column = 0; column < kColumns; ++column) {
      float four[4];
      get(column, four);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float sum = merged(four[i], part.values[column][i], factors[i / 2]);
        if (begin < visible[i / 2]) four[i] = sum;
      }
      put(column, four);
    }
  }

  __device__ __forceinline__ void get(int column, float (&four)[4]) const {
    if (column < kColumns - kInShared) {
#pragma unroll
      for (int i = 0; i < 4; ++i) four[i] = values[column][i];
    } else {
      const float4 all = shared[column - (kColumns - kInShared)][threadIdx.x];
      four[0] = all.x;
      four[1] = all.y;
      four[2] = all.z;
      four[3] = all.w;
    }
  }
  __device__ __forceinline__ void put(int column, const float (&four)[4]) {
    if (column < kColumns - kInShared) {
#pragma unroll
      for (int i = 0; i < 4; ++i) values[column][i] = four[i];
    } else {
      shared[column - (kColumns - kInShared)][threadIdx.x] =
          make_float4(four[0], four[1], four[2], four[3]);
    }
  }
};

// Two columns of every 8 of one row, times `factor`, to their places among head_dim.
template <int kColumns, typename Column>
__device__ __forceinline__ void write_row(float* to, int head_dim, int first_chunk, int lane,
                                          float factor, int r, const Column& column_of) {
#pragma unroll
  for (int column = 0; column < kColumns; ++column) {
    const int at = (first_chunk + column) * 8 + lane % 4 * 2;
    if (at >= head_dim) continue;
    float four[4];
    column_of(column, four);
    *reinterpret_cast<float2*>(to + at) =
        make_float2(four[2 * r] * factor, four[2 * r + 1] * factor);
  }
}

// The finished rows of the lane's fragments: first_row and the eighth after it of the block's
// kProductRows.
template <int kProductRows, int kColumns, int kInShared, int kThreads>
__device__ __forceinline__ void write_output(const AttentionCall& call,
                                             const Total<kColumns, kInShared, kThreads>& total,
                                             int first_row, int first_chunk, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const ProductRow row = product_row<kProductRows>(call, unknown(first_row + 8 * r));
    if (row.visible == 0) continue;
    write_row<kColumns>(output_of(call, row), call.head_dim, first_chunk, lane, 1 / total.weight[r],
                        r, [&](int column, float (&four)[4]) { total.get(column, four); });
  }
}

// One partition's, as they are; with_sums: also what the columns share.
template <int kProductRows, int kColumns>
__device__ __forceinline__ void write_partial(const AttentionCall& call,
                                              const Softmax<kColumns>& part,
                                              const float (&factor)[2], int partition,
                                              int first_row, int first_chunk, bool with_sums,
                                              int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const ProductRow row = product_row<kProductRows>(call, unknown(first_row + 8 * r));
    if (partition * kPartition >= row.visible) continue;
    float* const to = partial_of(call, tile_of_block(call), row.row_in_tile, row.head, partition);
    write_row<kColumns>(to, call.head_dim, first_chunk, lane, 1, r,
                        [&](int column, float (&four)[4]) {
                          for (int i = 0; i < 4; ++i) four[i] = part.values[column][i];
                        });
    if (!with_sums || lane % 4 != 0) continue;
    to[call.head_dim] = part.largest[r] * factor[r];
    to[call.head_dim + 1] = part.weight[2 * r];
  }
}

}  // namespace chatglm::kernels::cuda
