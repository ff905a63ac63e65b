// Operations on rows of f32 on a CUDA device: the host's side. All pointers are device memory; each
// function enqueues on the stream and returns. A row never depends on the others.
#pragma once

#include <cstdint>

#include "kernels/args.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

// output (rows, table.k): the table's rows named by row_ids (rows), with the bits that the storage
// type's own codec gives.
void embed(const DeviceWeight& table, const int32_t* row_ids, int64_t rows, float* output,
           Stream stream);
// output (rows, cols): the rows of x (?, cols) named by row_ids (rows).
void gather_rows(const float* x, int64_t cols, const int32_t* row_ids, int64_t rows, float* output,
                 Stream stream);
void rms_norm(const RmsNormArgs& args, Stream stream);
void layer_norm(const LayerNormArgs& args, Stream stream);
void silu_mul(const SiluMulArgs& args, Stream stream);
void gelu(const GeluArgs& args, Stream stream);
void rope_table(const RopeTableArgs& args, Stream stream);

}  // namespace chatglm::kernels::cuda
