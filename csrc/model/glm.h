// The forward pass of ChatGLM2, ChatGLM3, CodeGeeX2, GLM-4, GLM-Edge and GLM-4-0414: blocks with
// RMSNorm before (and in GLM-4-0414 also after) attention and feed-forward, grouped-query attention
// with interleaved RoPE on the first part of each head, SwiGLU. Written once over Backend.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/model_part.h"

namespace chatglm {

std::unique_ptr<ModelPart> load_glm(const ModelConfig& config, TensorSource& source,
                                    const PlacedLayers& layers, const LoadProgress& progress);

}  // namespace chatglm
