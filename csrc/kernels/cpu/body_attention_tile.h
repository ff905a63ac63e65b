// What attention does to a tile of keys or values: decoding it to f32, and multiplying it by a
// panel of product rows.
//
// A panel is kVectors vectors of product rows, one row a lane. Everything that belongs to it is
// stored with its rows last, (steps, kVectors * kLanes): so neither the products nor the softmax
// need a sum across lanes, and a key's or value's numbers are broadcast as they come from its page.
//
// Of V these bodies need besides what body_common.h names
//   kAttentionVectors            vectors in a wide panel
//   kAttentionSteps              rows of sums of a wide panel that fit into the registers
//   kAttentionNarrowSteps        the same for a panel of one vector
//   if_less(x, y, a, b)          a where x < y, else b
//   set_f16                      one stored f16 in all lanes
//   kLeastPower, times_pow2(x, n)  x * 2^n for integral n up to 0, where kLeastPower makes it 0
//   transpose4(from, to)         to[i][j] = from[j][i] for 4 rows of 4 floats each
#pragma once

#include "kernels/cpu/body_common.h"

namespace chatglm::kernels {

inline constexpr int64_t kAttentionBlock = 16;   // steps of a product, padded to a multiple of it
inline constexpr int64_t kAttentionStripe = 32;  // columns decoded at a time: a block of q8_0

// Walks the positions of one sequence through its pages, in one plane (keys or values of a layer
// and a head).
class KvWalk {
 public:
  CHATGLM_ALWAYS_INLINE KvWalk(const PagedKvView& kv, const int32_t* blocks, int64_t plane_offset,
                               int64_t position)
      : kv_(kv),
        blocks_(blocks + position / kv.page_tokens),
        plane_offset_(plane_offset),
        token_bytes_(kv.token_bytes()),
        left_(kv.page_tokens - position % kv.page_tokens),
        token_(kv.pages[*blocks_] + plane_offset + (kv.page_tokens - left_) * token_bytes_) {}
  CHATGLM_ALWAYS_INLINE const std::byte* token() const { return token_; }
  CHATGLM_ALWAYS_INLINE void advance(int64_t remaining) {
    token_ += token_bytes_;
    if (--left_ > 0 || remaining <= 0) return;  // no look at a page behind the last
    left_ = kv_.page_tokens;
    token_ = kv_.pages[*++blocks_] + plane_offset_;
  }

 private:
  const PagedKvView& kv_;
  const int32_t* blocks_;
  int64_t plane_offset_;
  int64_t token_bytes_;
  int64_t left_;  // positions of this page from this one on
  const std::byte* token_;
};

// Asks for the memory of the next positions of a walk ahead of their use: pages are short, and a
// processor's own prefetching ends with each.
class KvAhead {
 public:
  CHATGLM_ALWAYS_INLINE KvAhead(const KvWalk& walk, int64_t token_bytes, int64_t positions)
      : walk_(walk), token_bytes_(token_bytes), left_(positions) {}
  CHATGLM_ALWAYS_INLINE void fetch(int64_t positions) {
    for (; positions > 0 && left_ > 0; --positions) {
      for (int64_t byte = 0; byte < token_bytes_; byte += 64)
        CHATGLM_PREFETCH(walk_.token() + byte);
      walk_.advance(--left_);
    }
  }

 private:
  KvWalk walk_;
  int64_t token_bytes_;
  int64_t left_;
};

// Columns [column, column + count) of one position, zeros after head_dim; `column` is a multiple of
// kAttentionStripe, `count` of kAttentionBlock and at most kAttentionStripe.
template <class V, DType kType>
void decode_columns(const std::byte* token, int64_t head_dim, int64_t column, int64_t count,
                    float* out) {
  if constexpr (kType == DType::kQ8_0) {
    constexpr int64_t kBlockBytes = 34;  // an f16 scale, then 32 signed bytes
    const std::byte* block = token + column / 32 * kBlockBytes;
    const auto scale = V::set_f16(block);
    const auto* quants = reinterpret_cast<const int8_t*>(block + sizeof(uint16_t));
    CHATGLM_UNROLL
    for (int64_t i = 0; i < 32; i += V::kLanes) {
      V::store(out + i, V::mul(V::load_i8(quants + i), scale));
    }
  } else {
    using Stored = std::conditional_t<kType == DType::kF16, uint16_t, float>;
    const auto* values = reinterpret_cast<const Stored*>(token) + column;
    const auto load = [](const Stored* source) {
      if constexpr (kType == DType::kF16) {
        return V::load_f16(source);
      } else {
        return V::load(source);
      }
    };
    const int64_t present = head_dim - column < count ? head_dim - column : count;
    int64_t i = 0;
    for (; i + V::kLanes <= present; i += V::kLanes) V::store(out + i, load(values + i));
    for (; i < count; i += V::kLanes) {
      Stored rest[V::kLanes] = {};
      if (i < present) {
        std::memcpy(rest, values + i, static_cast<std::size_t>(present - i) * sizeof(Stored));
      }
      V::store(out + i, load(rest));
    }
  }
}

// The same of `positions` positions, row after row of `out_stride`.
template <class V, DType kType>
void decode_stripe(KvWalk walk, int64_t positions, int64_t head_dim, int64_t column, int64_t count,
                   float* out, int64_t out_stride) {
  for (int64_t t = 0; t < positions; ++t) {
    decode_columns<V, kType>(walk.token(), head_dim, column, count, out + t * out_stride);
    walk.advance(positions - t - 1);
  }
}

template <class V>
void decode_stripe(DType type, const KvWalk& walk, int64_t positions, int64_t head_dim,
                   int64_t column, int64_t count, float* out, int64_t out_stride) {
  if (type == DType::kF16) {
    decode_stripe<V, DType::kF16>(walk, positions, head_dim, column, count, out, out_stride);
  } else if (type == DType::kQ8_0) {
    decode_stripe<V, DType::kQ8_0>(walk, positions, head_dim, column, count, out, out_stride);
  } else {
    decode_stripe<V, DType::kF32>(walk, positions, head_dim, column, count, out, out_stride);
  }
}

// 2^x for x <= 0 and a little above, relative error below 1e-7; 0 from kLeastPower down, NaN for
// NaN.
template <class V>
typename V::F32 exp2_of_negative(typename V::F32 x) {
  x = V::max(V::set(V::kLeastPower), x);
  const auto n = V::round(x);
  const auto r = V::sub(x, n);
  // (2^r - 1) / r on |r| <= 1/2, least maximal relative error of 2^r (Lawson's iteration).
  auto p = V::set(0x1.41fbbcp-13F);
  p = V::fma(p, r, V::set(0x1.5f3e54p-10F));
  p = V::fma(p, r, V::set(0x1.3b2d4cp-7F));
  p = V::fma(p, r, V::set(0x1.c6aee8p-5F));
  p = V::fma(p, r, V::set(0x1.ebfbdcp-3F));
  p = V::fma(p, r, V::set(0x1.62e430p-1F));
  return V::times_pow2(V::fma(p, r, V::set(1.0F)), n);
}

// sums[step] = sums[step] * factor + the sum over k of a[step * step_stride + k * depth_stride] *
// b[k], for kSteps rows `sums` of a panel; kAdd = false: nothing is read from them. Each sum runs
// over k in ascending order, one multiply-add after the other.
template <class V, int kVectors, int kSteps, bool kAdd>
void multiply_steps(const float* a, int64_t step_stride, int64_t depth_stride, const float* b,
                    int64_t depth, const float* factor, float* sums) {
  using F32 = typename V::F32;
  constexpr int64_t kWidth = kVectors * V::kLanes;
  F32 sum[kSteps][kVectors];
  CHATGLM_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const F32 scale = kAdd ? V::load(factor + v * V::kLanes) : V::set(0.0F);
    CHATGLM_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      sum[s][v] = kAdd ? V::mul(V::load(sums + s * kWidth + v * V::kLanes), scale) : V::set(0.0F);
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    F32 rows[kVectors];
    CHATGLM_UNROLL
    for (int v = 0; v < kVectors; ++v) rows[v] = V::load(b + k * kWidth + v * V::kLanes);
    CHATGLM_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const F32 number = V::set(a[s * step_stride + k * depth_stride]);
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[s][v] = V::fma(number, rows[v], sum[s][v]);
    }
  }
  CHATGLM_UNROLL
  for (int s = 0; s < kSteps; ++s) {
    CHATGLM_UNROLL
    for (int v = 0; v < kVectors; ++v) V::store(sums + s * kWidth + v * V::kLanes, sum[s][v]);
  }
}

// The same for `steps` rows, a multiple of kAttentionBlock. Between the parts memory that will be
// needed next is asked for, a little at a time: so it comes while numbers are multiplied.
template <class V, int kVectors, bool kAdd>
void multiply(const float* a, int64_t step_stride, int64_t depth_stride, const float* b,
              int64_t depth, const float* factor, float* sums, int64_t steps, KvAhead& ahead) {
  constexpr int kSteps =
      kVectors == V::kAttentionVectors ? V::kAttentionSteps : V::kAttentionNarrowSteps;
  constexpr int kRest = kAttentionBlock % kSteps;
  constexpr int64_t kWidth = kVectors * V::kLanes;
  for (int64_t block = 0; block < steps; block += kAttentionBlock) {
    int64_t s = block;
    for (; s + kSteps <= block + kAttentionBlock; s += kSteps) {
      ahead.fetch(kSteps);
      multiply_steps<V, kVectors, kSteps, kAdd>(a + s * step_stride, step_stride, depth_stride, b,
                                                depth, factor, sums + s * kWidth);
    }
    if constexpr (kRest > 0) {
      ahead.fetch(kRest);
      multiply_steps<V, kVectors, kRest, kAdd>(a + s * step_stride, step_stride, depth_stride, b,
                                               depth, factor, sums + s * kWidth);
    }
  }
}

}  // namespace chatglm::kernels
