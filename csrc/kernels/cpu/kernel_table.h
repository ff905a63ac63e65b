// One table of functions per instruction set; one ordered list of tables (select.cc), best first.
// A new ISA is one file isa_<name>.cc and one row in that list.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "kernels/args.h"

namespace chatglm::kernels {

// How one ISA multiplies by weights of one storage type. Packing and product read the same layout,
// so they are one slot. A panel is `panel_rows` consecutive weight rows (the last may be padded).
struct LinearKernel {
  DType dtype;
  int64_t panel_rows;
  // Bytes of one packed panel of k inputs; panels are contiguous, each a multiple of 64 bytes.
  int64_t (*panel_bytes)(int64_t k);
  // Packs panels [begin, end) of the row-major matrix (n, k) in `dtype` into packed + begin *
  // panel_bytes.
  void (*pack)(const std::byte* weights, int64_t n, int64_t k, std::byte* packed, int64_t begin,
               int64_t end);
  // Bytes of one prepared input row of m; 0: the product reads plain f32 rows. A kernel may use
  // another form for many rows than for few; more rows and more inputs never need less room.
  int64_t (*input_row_bytes)(int64_t k, int64_t m);
  // Prepares rows [begin, end), which no other range touches in args.prepared (nullptr where the
  // product reads plain rows).
  void (*prepare_input)(const PrepareArgs& args, int64_t begin, int64_t end);
  // Computes panels [begin, end) for all rows of x.
  void (*product)(const LinearArgs& args, int64_t begin, int64_t end);
  // Bytes of LinearArgs::scratch that a call of product needs, 0 for none.
  int64_t (*scratch_bytes)(int64_t k, int64_t m);
  // Products of more rows round weights and inputs to bf16.
  int64_t rows_before_bf16 = std::numeric_limits<int64_t>::max();
};

// How one ISA attends. The keys and values of a task are decoded once for all its product rows, so
// more rows cost less each.
struct AttentionKernel {
  // No task of these arguments has more.
  int64_t (*most_product_rows)(const PagedAttentionArgs& args);
  // Bytes of working memory of a thread, 64-byte aligned, whatever its content.
  int64_t (*scratch_bytes)(int64_t head_dim);
  // Bytes of the result of one partition, in a form that `merge` reads; a multiple of 64.
  int64_t (*partial_bytes)(int64_t product_rows, int64_t head_dim);
  void (*attend)(const PagedAttentionArgs& args, const AttentionTask& task, std::byte* scratch);
  // Writes the output of a task's rows from task.partials, which hold all their partitions as
  // tasks of the same rows and heads left them.
  void (*merge)(const PagedAttentionArgs& args, const AttentionTask& task, std::byte* scratch);
  // Batches of more rows round weights and values to bf16 where the cache is no f32.
  int64_t rows_before_bf16 = std::numeric_limits<int64_t>::max();
};

// A register-only loop for the benchmark's ceiling: runs `iterations` rounds of independent
// multiply-adds and returns how many operations that was (a multiply-add counts two).
using PeakLoop = int64_t (*)(int64_t iterations);

struct KernelTable {
  std::string_view name;                 // "avx2"
  bool (*supported)();                   // by this CPU and operating system
  std::span<const LinearKernel> linear;  // one for each of all_dtypes()
  void (*embed)(const EmbedArgs&, int64_t begin, int64_t end);
  void (*rms_norm)(const RmsNormArgs&, int64_t begin, int64_t end);
  void (*layer_norm)(const LayerNormArgs&, int64_t begin, int64_t end);
  void (*rope_table)(const RopeTableArgs&, int64_t begin, int64_t end);
  void (*rope)(const RopeArgs&, int64_t begin, int64_t end);
  void (*kv_store)(const KvStoreArgs&, int64_t begin, int64_t end);
  AttentionKernel attention;
  void (*silu_mul)(const SiluMulArgs&, int64_t begin, int64_t end);
  void (*gelu)(const GeluArgs&, int64_t begin, int64_t end);
  PeakLoop peak_f32;   // f32 fused multiply-adds
  PeakLoop peak_int8;  // int8 dot products, by the instructions the quantized kernels use
  // Reads `count` floats in as many streams (1, 2 or 4) at once; returns their sum.
  float (*peak_read)(const float* data, int64_t count, int streams);
  PeakLoop peak_matrix = nullptr;  // bf16 products of a matrix unit, where there is one

  const LinearKernel& linear_kernel(DType dtype) const;
};

// Every table compiled into this program, best first; the last ("generic") always runs.
std::span<const KernelTable* const> all_kernel_tables();
// The best supported one, or the one named by CHATGLM_ISA.
// Throws Error{kDevice}: forced to one that is unknown or that this CPU lacks (the message lists
// them).
const KernelTable& select_kernel_table();

}  // namespace chatglm::kernels
