#include "emulation/tensor_map.h"

#include <cstring>
#include <string_view>

#include "emulation/machine.h"
#include "emulation/runtime_api.h"

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank,
                                void* address, const cuuint64_t* size, const cuuint64_t* strides,
                                const cuuint32_t* box, const cuuint32_t* element_strides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  constexpr cuuint64_t kElementBytes = 2;
  bool legal = reinterpret_cast<std::uintptr_t>(map) % 64 == 0 &&
               type == CU_TENSOR_MAP_DATA_TYPE_UINT16 && rank == 2 &&
               interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
               reinterpret_cast<std::uintptr_t>(address) % 16 == 0 && strides[0] % 16 == 0 &&
               strides[0] < cuuint64_t{1} << 40 && strides[0] >= size[0] * kElementBytes &&
               box[0] * kElementBytes % 16 == 0;
  for (int i = 0; i < 2; ++i) {
    legal = legal && size[i] > 0 && size[i] <= cuuint64_t{1} << 32 && box[i] > 0 && box[i] <= 256 &&
            element_strides[i] == 1;
  }
  const bool swizzled = swizzle == CU_TENSOR_MAP_SWIZZLE_128B;
  if (!legal || (swizzled && box[0] * kElementBytes > 128)) return CUDA_ERROR_INVALID_VALUE;
  const cuda_emulation::TensorMap described{
      .mark = cuda_emulation::kTensorMapMark,
      .begin = static_cast<const std::byte*>(address),
      .rows = static_cast<int64_t>(size[1]),
      .row_bytes = static_cast<int64_t>(size[0] * kElementBytes),
      .stride_bytes = static_cast<int64_t>(strides[0]),
      .box_rows = static_cast<int>(box[1]),
      .box_row_bytes = static_cast<int>(box[0] * kElementBytes),
      .element_bytes = kElementBytes,
      .swizzled = swizzled};
  std::memcpy(map, &described, sizeof(described));
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  constexpr unsigned kSince = 12000;
  const cuda_emulation::Locked lock(cuda_emulation::host().mutex);
  *function = nullptr;
  if (cuda_emulation::check_machine() != cudaSuccess) return cuda_emulation::host().sticky;
  const auto device = static_cast<std::size_t>(cuda_emulation::current_device());
  const bool old = cuda_emulation::host().devices[device].old_driver;
  if (std::string_view(symbol) != "cuTensorMapEncodeTiled" || old) {
    *result = cudaDriverEntryPointSymbolNotFound;
  } else if (version < kSince) {
    *result = cudaDriverEntryPointVersionNotSufficent;
  } else {
    *result = cudaDriverEntryPointSuccess;
    *function = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
  }
  return cudaSuccess;
}
