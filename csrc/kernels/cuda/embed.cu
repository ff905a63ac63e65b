// Rows of a table by index, from any form that weights take. No fused multiply-adds: the values are
// bit by bit those of the storage types' codecs.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row_ops.h"
#include "kernels/cuda/row_slices.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int64_t kBlock = 32;  // codes that lie together

struct EmbedCall {
  DeviceWeight table;
  const int32_t* row_ids;  // (rows)
  float* output;           // (rows, table.k)
};

template <Codes kCodes>
__device__ __forceinline__ float value_of(const DeviceWeight& table, int64_t row, int64_t i) {
  const std::byte* codes = table.codes + row * table.codes_row_bytes;
  if constexpr (kCodes == Codes::kF32) {
    return reinterpret_cast<const float*>(codes)[i];
  } else if constexpr (kCodes == Codes::kF16) {
    return __half2float(reinterpret_cast<const __half*>(codes)[i]);
  } else if constexpr (kCodes == Codes::kBF16) {
    return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(codes)[i]);
  } else {
    int code;
    if constexpr (kCodes == Codes::kBytes) {
      code = reinterpret_cast<const int8_t*>(codes)[i];
    } else {
      const int64_t in_block = i % kBlock;
      const int64_t byte = i / kBlock * (kBlock / 2) + in_block % (kBlock / 2);
      const int pair = reinterpret_cast<const uint8_t*>(codes)[byte];
      code = in_block < kBlock / 2 ? pair & 15 : pair >> 4;
      if (!table.form.minimums) code -= 8;
    }
    const int64_t part = i / table.form.part;
    const std::byte* scales = table.scales + row * table.scales_row_bytes;
    const float scale = table.form.half_scales
                            ? __half2float(reinterpret_cast<const __half*>(scales)[part])
                            : reinterpret_cast<const float*>(scales)[part];
    const float value = __fmul_rn(scale, static_cast<float>(code));
    if (!table.form.minimums) return value;
    const std::byte* minimums = table.minimums + row * table.minimums_row_bytes;
    return __fadd_rn(value, reinterpret_cast<const float*>(minimums)[part]);
  }
}

template <Codes kCodes>
__global__ void __launch_bounds__(kSliceThreads) embed_kernel(const EmbedCall call) {
  const int64_t row = call.row_ids[blockIdx.x];
  float* output = call.output + blockIdx.x * call.table.k;
  for_slice(call.table.k, [&](int64_t i) { output[i] = value_of<kCodes>(call.table, row, i); });
}

template <Codes kCodes>
void launch_embed(const EmbedCall& call, int64_t rows, Stream stream) {
  launch(embed_kernel<kCodes>, slice_grid(rows, call.table.k), kSliceThreads, 0, stream, call);
}

}  // namespace

void embed(const DeviceWeight& table, const int32_t* row_ids, int64_t rows, float* output,
           Stream stream) {
  if (rows == 0) return;
  const EmbedCall call{table, row_ids, output};
  switch (table.form.codes) {
    case Codes::kF32:
      return launch_embed<Codes::kF32>(call, rows, stream);
    case Codes::kF16:
      return launch_embed<Codes::kF16>(call, rows, stream);
    case Codes::kBF16:
      return launch_embed<Codes::kBF16>(call, rows, stream);
    case Codes::kNibbles:
      return launch_embed<Codes::kNibbles>(call, rows, stream);
    case Codes::kBytes:
      return launch_embed<Codes::kBytes>(call, rows, stream);
  }
}

void gather_rows(const float* x, int64_t cols, const int32_t* row_ids, int64_t rows, float* output,
                 Stream stream) {
  DeviceWeight table{};
  table.form.codes = Codes::kF32;
  table.k = cols;
  table.codes_row_bytes = cols * static_cast<int64_t>(sizeof(float));
  table.codes = reinterpret_cast<const std::byte*>(x);
  embed(table, row_ids, rows, output, stream);
}

}  // namespace chatglm::kernels::cuda
