// The forward pass of ChatGLM2, ChatGLM3 and CodeGeeX2: pre-norm blocks with RMSNorm, grouped-query
// attention with interleaved RoPE on the first half of each head, SwiGLU. Written once over
// Backend.
#pragma once

#include <memory>

#include "model/model.h"

namespace chatglm {

std::unique_ptr<Model> load_glm(const ModelConfig& config, TensorSource& source, Backend& backend,
                                const LoadProgress& progress);

}  // namespace chatglm
