// An NVIDIA GPU as a Backend: memory of the device, a stream of operations, the kernels of
// kernels/cuda. Only in builds with CUDA.
#pragma once

#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/registry.h"

namespace chatglm {

// Why GPU `device_index` can't be used here, for people; empty: it can. Does not throw.
std::string why_no_cuda(int device_index);

// With the GPU of options.device_index. num_threads: of the host, which bring weights there.
// Throws Error{kDevice} saying why where it can't be used.
std::unique_ptr<Backend> create_cuda_backend(const BackendOptions& options);

// The same with steps of up to most_recorded_rows rows recorded and repeated; 0: none.
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options,
                                           int64_t most_recorded_rows);

}  // namespace chatglm
