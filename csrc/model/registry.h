// The table of model architectures. A new one is a file with its forward pass and one row in
// registry.cc.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "model/config_reader.h"
#include "model/model.h"
#include "model/model_part.h"

namespace chatglm {

struct ModelEntry {
  std::string_view architecture;  // GGUF general.architecture
  std::string_view models;        // for people: what it covers
  std::unique_ptr<ModelPart> (*load)(const ModelConfig&, TensorSource&, const PlacedLayers&,
                                     const LoadProgress&);
  // Reads what this architecture has besides the common keys, and checks all; nullptr: nothing.
  void (*read_config)(const ConfigReader&, ModelConfig&) = nullptr;
};

std::span<const ModelEntry> all_models();

// Throws Error{kUnsupportedModel, where} listing what is supported.
const ModelEntry& find_model(std::string_view architecture, const std::string& where);

}  // namespace chatglm
