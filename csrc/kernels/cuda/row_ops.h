// Operations on rows of f32 on a CUDA device: the host's side. All pointers are device memory; each
// function enqueues on the stream and returns.
#pragma once

#include "kernels/args.h"
#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

void rms_norm(const RmsNormArgs& args, Stream stream);

}  // namespace chatglm::kernels::cuda
