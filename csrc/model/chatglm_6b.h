// ChatGLM-6B, the first generation: LayerNorm blocks whose residual is the normalized input times a
// constant, GELU, two rotary tables (position, and position within the answer), and a context whose
// tokens see each other. Written once over Backend.
#pragma once

#include <memory>

#include "model/config_reader.h"
#include "model/model.h"
#include "model/model_part.h"

namespace chatglm {

// What this architecture has besides the common keys.
void read_chatglm_6b_config(const ConfigReader& reader, ModelConfig& config);

std::unique_ptr<ModelPart> load_chatglm_6b(const ModelConfig& config, TensorSource& source,
                                           const PlacedLayers& layers,
                                           const LoadProgress& progress);

}  // namespace chatglm
