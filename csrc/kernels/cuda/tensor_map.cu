#include "kernels/cuda/tensor_map.cuh"

#include <cuda_runtime.h>

namespace chatglm::kernels::cuda {
namespace {

constexpr unsigned kSwizzledBytes = 128;
constexpr unsigned kBoxCols = kSwizzledBytes / sizeof(uint16_t);

// Asked of the runtime: with the driver's library linked, the program would not start where there
// is no driver.
decltype(&cuTensorMapEncodeTiled) find_encode() {
  constexpr unsigned kSinceCuda = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSinceCuda,
                                       cudaEnableDefault, &result) != cudaSuccess ||
      result != cudaDriverEntryPointSuccess) {
    return nullptr;
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

bool describe_rows(const void* rows, int64_t count, int64_t cols, int box_rows, CUtensorMap& map) {
  const auto encode = find_encode();
  if (encode == nullptr) return false;
  const cuuint64_t size[] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(count)};
  const cuuint64_t row_bytes[] = {size[0] * sizeof(uint16_t)};
  const cuuint32_t box[] = {kBoxCols, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t every[] = {1, 1};
  // Bits are copied, whatever they mean.
  return encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, const_cast<void*>(rows), size, row_bytes,
                box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace chatglm::kernels::cuda
