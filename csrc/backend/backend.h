// The boundary between the forward pass and a device. A model is written once against this class.
// All float pointers handed to operations are memory of this backend (allocate()); sizes were
// checked by the caller. Operations may be asynchronous, in the order of their calls; download()
// waits. One thread uses a backend at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/args.h"
#include "sampling/choice.h"
#include "tensor/tensor_view.h"

namespace chatglm {

// Device memory with an owner. The backend outlives its buffers.
class Buffer {
 public:
  virtual ~Buffer() = default;
  std::byte* data() const { return data_; }
  int64_t size_bytes() const { return size_bytes_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 protected:
  Buffer(std::byte* data, int64_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  std::byte* data_;
  int64_t size_bytes_;
};

// A weight matrix in a backend's own layout.
class Weight {
 public:
  virtual ~Weight() = default;
  int64_t rows() const { return rows_; }  // outputs
  int64_t cols() const { return cols_; }  // inputs
  DType dtype() const { return dtype_; }
  int64_t size_bytes() const { return size_bytes_; }  // as packed

 protected:
  Weight(int64_t rows, int64_t cols, DType dtype, int64_t size_bytes)
      : rows_(rows), cols_(cols), dtype_(dtype), size_bytes_(size_bytes) {}
  int64_t rows_, cols_;
  DType dtype_;
  int64_t size_bytes_;
};

// What a model makes of a prompt, besides its tokens.
struct PromptLayout {
  // Leading tokens that all see each other, and therefore are computed in one step; 0: causal.
  int32_t bidirectional_tokens = 0;
  // Where a model with block positions places everything that follows the bidirectional tokens.
  int32_t answer_position = 0;
};

// One step's work: several sequences, each with one or more new tokens, rows packed back to back.
struct Batch {
  std::span<const int32_t> token_ids;  // (rows)
  // (rows) index of the token in its sequence; of a model whose positions count on after a trained
  // prefix more by the prefix's length
  std::span<const int32_t> positions;
  std::span<const int32_t> slots;         // (rows) index in the sequence's cache
  std::span<const int32_t> visible;       // (rows) slots that the row attends to, from 0 on
  std::span<const int32_t> sequence;      // (rows) ascending
  std::span<const PromptLayout> layouts;  // (sequences)
  std::span<const int32_t> block_table;   // (sequences, block_table_stride)
  int64_t block_table_stride = 0;
  std::span<const int32_t> logit_rows;    // (logit_rows) rows whose logits are wanted, ascending
  std::span<const int32_t> adapter = {};  // (sequences) LoRA adapter or -1; empty: none has one

  int64_t rows() const { return static_cast<int64_t>(token_ids.size()); }
};

// The same in the backend's memory, valid until the next stage().
struct StagedBatch {
  const int32_t* token_ids;   // (rows)
  const int32_t* positions;   // (rows)
  const int32_t* logit_rows;  // (num_logit_rows)
  int64_t num_logit_rows;
  kernels::RaggedRows rows;
};

// What linear() multiplies by a weight: rows as they are, or what it makes of them on the way,
// without writing it out.
struct LinearInput {
  // Implicit: plain rows are the usual case.
  LinearInput(const float* plain) : x(plain) {}  // NOLINT(google-explicit-constructor)
  // The rows' RMS norm. norm_weight (cols)
  static LinearInput normed(const float* x, const float* norm_weight, float epsilon) {
    LinearInput input(x);
    input.norm_weight = norm_weight;
    input.norm_epsilon = epsilon;
    return input;
  }
  // silu(gate) * up of rows (2 * cols): gate, then up.
  static LinearInput gated_by_silu(const float* gate_up) {
    LinearInput input(gate_up);
    input.gated = true;
    return input;
  }

  bool is_plain() const { return norm_weight == nullptr && !gated; }

  const float* x;  // (rows, cols); gated: (rows, 2 * cols)
  const float* norm_weight = nullptr;
  float norm_epsilon = 0;
  bool gated = false;
};

// What the operations of a step are told apart by, beside what stage() was given: two steps with
// equal values, each after a stage() of its own, are the same operations on the same memory.
struct StepShape {
  const void* owner;  // whose weights and activations: the model, or a part of it
  int64_t num_logit_rows;
  // The cache and the query heads of its attentions.
  kernels::PagedKvView kv;
  int64_t heads;
  bool is_repeatable = true;  // false: they depend on more than this
};

// Queries and keys that are rotated, and keys and values that are stored behind that.
struct RotateAndStore {
  kernels::RopeArgs queries;
  kernels::RopeArgs keys;  // of store.keys
  kernels::KvStoreArgs store;
};

// What a device does at most, measured and not taken from a data sheet.
struct DeviceCeiling {
  double copy_bytes_per_second;  // bytes read and bytes written
  double operations_per_second;  // of matrix products; a multiply-add is two
  std::string_view operations;   // which: "bf16 mma.sync"
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view device() const = 0;  // "cpu"
  virtual std::string description() const = 0;  // for -v: CPU, ISA, threads
  virtual std::string_view isa() const = 0;     // name of the kernel table
  virtual int num_threads() const = 0;

  // What is left of the memory that allocate() takes from; nothing: it is the host's.
  virtual std::optional<int64_t> free_memory_bytes() const { return std::nullopt; }

  // Of a device that is not the host: takes about a second and a gibibyte of its memory.
  virtual std::optional<DeviceCeiling> measure_ceiling() { return std::nullopt; }

  // Throws Error{kDevice} naming what was needed. Zero-filled, 64-byte aligned.
  virtual std::unique_ptr<Buffer> allocate(int64_t size_bytes) = 0;
  // Memory of the host that download() writes to soonest, with whatever it holds.
  virtual std::unique_ptr<Buffer> allocate_host(int64_t size_bytes) {
    return allocate(size_bytes);  // of a backend whose memory is the host's
  }
  virtual void upload(void* destination, const void* host_source, int64_t size_bytes) = 0;
  virtual void download(void* host_destination, const void* source, int64_t size_bytes) = 0;

  // Packs one matrix for linear(): the rows of `parts`, which have one type and one number of
  // columns, one below the other. `after_rows`, if set, is called as packing proceeds with a part
  // of them that will not be read again (so that mapped pages can be given back): once for every
  // row, in any order, by several threads at once.
  using ReleaseHint = void (*)(void* context, const TensorView& part);
  virtual std::unique_ptr<Weight> load_matrix(std::span<const TensorView> parts,
                                              ReleaseHint after_rows = nullptr,
                                              void* context = nullptr) = 0;
  std::unique_ptr<Weight> load_matrix(const TensorView& weights, ReleaseHint after_rows = nullptr,
                                      void* context = nullptr) {
    return load_matrix(std::span(&weights, 1), after_rows, context);
  }
  // Keeps a table for embed(), in its storage type.
  virtual std::unique_ptr<Weight> load_table(const TensorView& table,
                                             ReleaseHint after_rows = nullptr,
                                             void* context = nullptr) = 0;

  // Makes scratch space for products of up to `rows` rows of `cols` inputs; operations allocate
  // nothing afterwards.
  virtual void reserve(int64_t rows, int64_t cols) = 0;
  virtual StagedBatch stage(const Batch& batch) = 0;
  // Calls `step`, which calls operations on the batch that was staged last, and nothing else of
  // this backend: no stage(), reserve(), allocate(), upload() or download(). Where a step of equal
  // shape ran before, a backend may repeat its operations instead.
  virtual void run_step(const StepShape& /*shape*/, const std::function<void()>& step) { step(); }

  // table: made by load_table. output (rows, table.cols)
  virtual void embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) = 0;
  virtual void rms_norm(const kernels::RmsNormArgs& args) = 0;
  virtual void layer_norm(const kernels::LayerNormArgs& args) = 0;
  // y (rows, weight.rows) = input (rows, weight.cols) W^T + bias, or added to y where accumulate.
  // y_stride: elements from one row of y to the next; 0: weight.rows.
  virtual void linear(const Weight& weight, const float* bias, const LinearInput& input,
                      int64_t rows, float* y, bool accumulate = false, int64_t y_stride = 0) = 0;
  // Writes out the rows that linear() would make of an input that is not plain. output (rows, cols)
  void make_plain(const LinearInput& input, int64_t rows, int64_t cols, float* output) {
    if (input.gated) {
      silu_mul({.gate_up = input.x, .y = output, .rows = rows, .cols = cols});
    } else {
      rms_norm({.x = input.x,
                .weight = input.norm_weight,
                .y = output,
                .rows = rows,
                .cols = cols,
                .epsilon = input.norm_epsilon});
    }
  }
  virtual void rope_table(const kernels::RopeTableArgs& args) = 0;
  virtual void rope(const kernels::RopeArgs& args) = 0;
  virtual void kv_store(const kernels::KvStoreArgs& args) = 0;
  // What the rows of the keys hold afterwards is not defined.
  virtual void rotate_and_store(const RotateAndStore& args) {
    rope(args.queries);
    rope(args.keys);
    kv_store(args.store);
  }
  // linear() of queries, keys and values, then rotate_and_store(). y (rows, weight.rows) = queries
  // | keys | values, and `heads` names them there. What the rows of keys and values hold afterwards
  // is not defined.
  virtual void linear_rotate_store(const Weight& weight, const float* bias,
                                   const LinearInput& input, int64_t rows, float* y,
                                   const RotateAndStore& heads) {
    linear(weight, bias, input, rows, y);
    rotate_and_store(heads);
  }
  virtual void paged_attention(const kernels::PagedAttentionArgs& args) = 0;
  virtual void silu_mul(const kernels::SiluMulArgs& args) = 0;
  virtual void gelu(const kernels::GeluArgs& args) = 0;
  // output (row_ids, cols): the rows of x (?, cols) named by row_ids.
  virtual void gather_rows(const float* x, int64_t cols, const int32_t* row_ids,
                           int64_t num_row_ids, float* output) = 0;

  // Chooses a column of each of the rows of logits (?, cols) named by `rows`, by a rule each, and
  // waits for the choices. What can't be chosen is an error of its row alone. A choice depends on
  // its row and rule only; on the host it is try_choose_token()'s, elsewhere too but where that
  // hangs on the rounding of a sum.
  // Here: on the host, one row after the other.
  virtual void choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
                      std::span<const ChoiceRule> rules, std::span<Choice> choices);
};

}  // namespace chatglm
