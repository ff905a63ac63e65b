#include "model/registry.h"

#include <array>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/chatglm_6b.h"
#include "model/glm.h"
#include "model/parted_model.h"

namespace chatglm {
namespace {

constexpr std::array kModels = {
    ModelEntry{"chatglm", "ChatGLM2, ChatGLM3, CodeGeeX2, GLM-4-9B, GLM-Edge", load_glm},
    ModelEntry{"chatglm-6b", "ChatGLM-6B", load_chatglm_6b, read_chatglm_6b_config},
    ModelEntry{"glm4", "GLM-4-0414, GLM-Z1", load_glm},
};

}  // namespace

std::span<const ModelEntry> all_models() {
  return kModels;
}

const ModelEntry& find_model(std::string_view architecture, const std::string& where) {
  std::string supported;
  for (const ModelEntry& entry : kModels) {
    if (entry.architecture == architecture) return entry;
    supported += supported.empty() ? "" : ", ";
    supported += "\"" + std::string(entry.architecture) + "\" (" + std::string(entry.models) + ")";
  }
  throw Error(ErrorKind::kUnsupportedModel,
              "this is a model of architecture \"" + std::string(architecture) +
                  "\"; supported here: " + supported,
              where);
}

void Model::add_adapter(const LoraFile& adapter) {
  throw Error(ErrorKind::kUnsupportedModel,
              "a model of architecture \"" + config().architecture + "\" takes no LoRA adapter",
              adapter.where());
}

std::unique_ptr<Model> load_model(const ModelConfig& config, TensorSource& source,
                                  const Placement& placement, const LoadProgress& progress) {
  const ModelEntry& entry = find_model(config.architecture, source.description());
  const auto share = [&](int64_t layers) {
    return static_cast<double>(layers) / static_cast<double>(config.num_layers);
  };
  std::vector<std::unique_ptr<ModelPart>> parts;
  for (const PlacedLayers& layers : placement.of(config.num_layers)) {
    LoadProgress part_progress;
    if (progress) {
      part_progress = [&, layers](double done) {
        progress(share(layers.begin) + done * share(layers.count()));
      };
    }
    parts.push_back(entry.load(config, source, layers, part_progress));
  }
  return std::make_unique<PartedModel>(config, std::move(parts));
}

}  // namespace chatglm
