// A queue of device work, named without any CUDA header: what the host interfaces of the kernels
// take. It is the runtime's cudaStream_t.
#pragma once

struct CUstream_st;

namespace chatglm::kernels::cuda {

using Stream = CUstream_st*;

}  // namespace chatglm::kernels::cuda
