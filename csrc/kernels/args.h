// The arguments of every kernel: plain structs of pointers, sizes and strides, shared by the
// reference and by every ISA and device. Kernels know no model, check nothing and throw nothing;
// whoever fills these structs has checked them.
//
// Each kernel computes a half-open range [begin, end) of work items; the item is named at the
// struct. Every item is computed by the same arithmetic in the same order whatever the range, the
// number of rows or the neighbours are: results never depend on how work was split or batched. The
// exceptions are products and attention, whose rows may be computed in one way in a batch of few
// and in another among many (rows_before_bf16 of LinearKernel and of AttentionKernel).
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

// Inline functions of shared headers must vanish into the files compiled for one ISA: an
// out-of-line copy with AVX-512 instructions could be the one the linker keeps for everybody.
#if defined(_MSC_VER)
#define CHATGLM_ALWAYS_INLINE __forceinline
#else
#define CHATGLM_ALWAYS_INLINE [[gnu::always_inline]] inline
#endif

namespace chatglm::kernels {

// Rows of a table by index, decoded to f32. Item: a row.
struct EmbedArgs {
  const std::byte* table;  // (vocab, cols) in `dtype`, row-major, as stored
  DType dtype;
  const int32_t* row_ids;  // (rows)
  float* output;           // (rows, cols)
  int64_t rows;
  int64_t cols;
};

// y = x / sqrt(mean(x^2) + epsilon) * weight (+ y). Item: a row.
struct RmsNormArgs {
  const float* x;       // (rows, cols)
  const float* weight;  // (cols)
  float* y;             // (rows, cols); may be x where it is not added to
  int64_t rows;
  int64_t cols;
  float epsilon;
  bool accumulate = false;  // add to what y holds (the residual)
};

// y = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias, and scaled = scale * y; one of
// the two may be x. Item: a row.
struct LayerNormArgs {
  const float* x;       // (rows, cols)
  const float* weight;  // (cols)
  const float* bias;    // (cols)
  float* y;             // (rows, cols)
  float* scaled;        // (rows, cols) or nullptr: not wanted
  int64_t rows;
  int64_t cols;
  float epsilon;
  float scale;
};

// cos and sin of the angle (position * position_scale) * frequency, each times `magnitude`. As in
// the official code the scaled position, the angle and the results are rounded to f32. Item: a row.
struct RopeTableArgs {
  const int32_t* positions;  // (rows)
  const float* frequencies;  // (rotary_dim / 2)
  float* cos_sin;            // (rows, rotary_dim / 2, 2)
  int64_t rows;
  int64_t rotary_dim;  // even
  float position_scale;
  float magnitude = 1;
};

// Rotates pairs of the first rotary_dim elements of every head, then multiplies the whole head by
// row_scale[row]. Each group of pair_span elements is paired within itself, the first half with the
// second: adjacent elements for a span of 2. In place. Item: a row.
struct RopeArgs {
  float* x;                // (rows, heads, head_dim), row stride `row_stride`
  const float* cos_sin;    // (rows, rotary_dim / 2, 2), pairs in the order of their first elements
  const float* row_scale;  // (rows) or nullptr: 1
  int64_t rows;
  int64_t row_stride;  // elements from one row to the next
  int64_t heads;
  int64_t head_dim;
  int64_t rotary_dim;
  int64_t pair_span = 2;  // even, divides rotary_dim
};

// Where keys and values live. A page holds `page_tokens` consecutive positions of one sequence for
// all layers: (layers, 2 (K, V), kv_heads, page_tokens, head_dim) in `dtype`.
struct PagedKvView {
  std::byte* const* pages;  // (pages) start of each page
  DType dtype;              // f32, f16 or q8_0
  int64_t page_tokens;
  int64_t kv_heads;
  int64_t head_dim;  // multiple of the dtype's block
  int64_t num_layers;

  CHATGLM_ALWAYS_INLINE int64_t token_bytes() const {
    const DTypeInfo& info = dtype_info(dtype);
    return head_dim / info.block_elements * info.block_bytes;
  }
  CHATGLM_ALWAYS_INLINE int64_t head_bytes() const { return page_tokens * token_bytes(); }
  CHATGLM_ALWAYS_INLINE int64_t plane_bytes() const { return kv_heads * head_bytes(); }
  CHATGLM_ALWAYS_INLINE int64_t page_bytes() const { return 2 * num_layers * plane_bytes(); }
  // (page_tokens, head_dim)
  CHATGLM_ALWAYS_INLINE std::byte* keys(int32_t page, int64_t layer, int64_t head) const {
    return pages[page] + 2 * layer * plane_bytes() + head * head_bytes();
  }
  CHATGLM_ALWAYS_INLINE std::byte* values(int32_t page, int64_t layer, int64_t head) const {
    return pages[page] + (2 * layer + 1) * plane_bytes() + head * head_bytes();
  }
};

// Which sequence each row of a ragged batch belongs to, where in its cache it lies and how much of
// it it sees, and where the sequence's pages are.
struct RaggedRows {
  const int32_t* slots;        // (rows) index of the row's key and value in its sequence's cache
  const int32_t* visible;      // (rows) slots 0..visible - 1 are attended to; causal: slot + 1
  const int32_t* sequence;     // (rows) row of block_table
  const int32_t* block_table;  // (sequences, block_table_stride) page of each block of page_tokens
  int64_t block_table_stride;
  int64_t rows;
};

// Writes the rows' keys and values into their pages. Item: a row.
struct KvStoreArgs {
  const float* keys;    // (rows, kv_heads, head_dim), row stride `row_stride`
  const float* values;  // the same
  int64_t row_stride;
  int64_t layer;
  PagedKvView kv;
  RaggedRows rows;
};

// Attention of every row over the visible slots of its sequence; query head h uses KV head h /
// (heads / kv_heads). The keys are walked in partitions of kAttentionPartition slots counted from
// 0, each with an online softmax of its own, merged in ascending order: so the arithmetic depends
// on the number of visible slots only, however the work is cut into tasks.
inline constexpr int64_t kAttentionPartition = 256;
inline constexpr int64_t kMaxAttentionHeadDim = 512;

struct PagedAttentionArgs {
  const float* query;  // (rows, heads, head_dim), row stride `query_stride`
  int64_t query_stride;
  float* output;  // (rows, heads, head_dim), contiguous
  int64_t heads;
  int64_t layer;
  float scale;  // 1 / sqrt(head_dim)
  PagedKvView kv;
  RaggedRows rows;
};

// A piece of an attention: query heads of one KV head, of consecutive rows of one sequence
// (together num_rows * num_heads product rows), over consecutive partitions of the slots that any
// of these rows sees.
struct AttentionTask {
  int64_t first_row;
  int64_t num_rows;
  int64_t first_head;
  int64_t num_heads;
  int64_t first_partition;
  int64_t num_partitions;
  // Where the result of each partition goes (see AttentionKernel), 64-byte aligned; nullptr: the
  // task has all partitions of its rows and writes the output.
  std::byte* partials;
};

// y = silu(gate) * up. Item: a row.
struct SiluMulArgs {
  const float* gate_up;  // (rows, 2 * cols): gate, then up
  float* y;              // (rows, cols)
  int64_t rows;
  int64_t cols;
};

// y = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))). Item: a row.
struct GeluArgs {
  const float* x;  // (rows, cols)
  float* y;        // (rows, cols); may be x
  int64_t rows;
  int64_t cols;
};

// Makes what a product reads (LinearKernel::prepare_input) of rows of inputs: of x as it is; or of
// its RMS norm; or of silu(x's first k) * x's last k. The values are those of RmsNormArgs and
// SiluMulArgs, bit by bit. Item: a row.
struct PrepareArgs {
  const float* x;                      // (m, k); gated: (m, 2 * k)
  const float* norm_weight = nullptr;  // (k), or nullptr: no norm
  float norm_epsilon = 0;
  bool gated = false;             // without a norm
  std::byte* prepared = nullptr;  // (m, input_row_bytes)
  int64_t m = 0;
  int64_t k = 0;
};

// y = x W^T (+ bias) (+ y). Item: a panel of weight rows (see LinearKernel).
struct LinearArgs {
  const std::byte* packed;  // weights in the kernel's own layout, 64-byte aligned
  const void* x;            // (m, k) in the form that prepare_input makes, or f32
  const float* bias;        // (n) or nullptr
  float* y;                 // (m, n), row stride `y_stride`
  int64_t y_stride;         // elements from one row to the next, n or more
  int64_t m;                // rows of x
  int64_t n;                // outputs = rows of the weight matrix
  int64_t k;                // inputs, a multiple of the weight type's block
  bool accumulate;          // add to what y holds (the residual)
  // (LinearKernel::scratch_bytes) of this call alone, 64-byte aligned
  std::byte* scratch = nullptr;
};

}  // namespace chatglm::kernels
