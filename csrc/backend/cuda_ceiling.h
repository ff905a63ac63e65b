// What a GPU does at most, measured on it.
#pragma once

#include "backend/backend.h"
#include "backend/cuda_device.h"
#include "backend/cuda_owned.h"

namespace chatglm::cuda {

// On the current device. Throws Error{kDevice} where a gibibyte of memory is missing.
DeviceCeiling measure_ceiling(const Device& device, cudaStream_t stream);

}  // namespace chatglm::cuda
