// LoRA adapters beside a model's weights: y += scale * B (A x) for the rows of a batch that ask for
// it. Several at once; rows without an adapter are not touched. Knows matrices and rows, and no
// architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend/backend.h"
#include "model/lora_file.h"
#include "model/projection.h"

namespace chatglm {

// A matrix that adapters may update.
struct LoraTarget {
  std::string name;  // as adapters call it: "blk.0.attn_q.weight"
  // What it is, or is a part of, in the model: a weight, a projection. nullptr: it is the model's,
  // but not here.
  const void* matrix;
  int64_t rows;               // outputs
  int64_t cols;               // inputs
  int64_t first_row = 0;      // where its outputs begin among those of `matrix`
  bool is_embedding = false;  // a table of `cols` rows: inputs are row numbers
};

// Rows [begin, end) of a batch, which have the same adapter.
struct LoraRun {
  int32_t adapter;
  int64_t begin;
  int64_t end;
};

class LoraAdapters {
 public:
  explicit LoraAdapters(Backend& backend) : backend_(backend) {}

  // Loads one more; its index is the number of those before it.
  // Throws Error{kModelFile} listing all of its matrices that no target fits.
  void add(std::span<const LoraTarget> targets, const LoraFile& file);
  int32_t size() const { return size_; }
  int64_t max_rank() const { return max_rank_; }
  int64_t size_bytes() const { return size_bytes_; }

  // Makes room for batches of up to max_rows rows.
  void reserve(int64_t max_rows);
  // Finds out which rows of the batch have which adapter.
  void begin(const Batch& batch);
  std::span<const LoraRun> row_runs() const { return row_runs_; }      // of all rows
  std::span<const LoraRun> logit_runs() const { return logit_runs_; }  // of the logits' rows

  // y (rows, outputs) = input W^T (+ b) (+ y) of a projection, with the adapters of the batch's
  // rows. plain_rows (rows, inputs): where an input that is not plain is written out if they need
  // it.
  void project(const Projection& projection, LinearInput input, int64_t rows, float* y,
               bool accumulate = false, Buffer* plain_rows = nullptr);
  // Adds to y (rows, y_stride) what the runs' adapters of a target's `matrix` make of x (rows,
  // inputs).
  void apply(const void* matrix, std::span<const LoraRun> runs, const float* x, float* y,
             int64_t y_stride);
  // The same for an embedding table.
  void apply_embedding(const void* table, std::span<const LoraRun> runs, const int32_t* row_ids,
                       float* y, int64_t y_stride);

 private:
  struct Update {
    std::unique_ptr<Weight> a;  // rank, inputs; of an embedding: a table of inputs, rank
    std::unique_ptr<Weight> b;  // outputs, rank; times the scale
    int64_t first_row = 0;
  };
  // (adapters) what each does to one matrix, mostly one update.
  using Updates = std::vector<std::vector<Update>>;

  Update load(const LoraTarget& target, const LoraPair& pair, const LoraFile& file);
  template <typename FirstProduct>
  void apply_runs(const void* matrix, std::span<const LoraRun> runs, float* y, int64_t y_stride,
                  const FirstProduct& first_product);

  Backend& backend_;
  int32_t size_ = 0;
  int64_t max_rank_ = 0;
  int64_t size_bytes_ = 0;
  std::unordered_map<const void*, Updates> updates_;
  std::unique_ptr<Buffer> low_rank_;  // (rows, max_rank)
  std::vector<LoraRun> row_runs_;
  std::vector<LoraRun> logit_runs_;
};

}  // namespace chatglm
