// Whether what one kind of GPU alone has gives there what every GPU computes.
#pragma once

#include "backend/cuda_owned.h"
#include "kernels/cuda/linear.h"

namespace chatglm::cuda {

// Whether products by warpgroups have the bits of those by mma.sync on the current device: a few of
// small integers, which are exact in every order of summation. A launch that the device refuses is
// a no. Takes some milliseconds and less than a megabyte. Throws Error{kDevice} where the memory is
// missing or the device failed for good.
bool warpgroups_agree(kernels::cuda::DeviceTraits device, cudaStream_t stream);

}  // namespace chatglm::cuda
