// What guesses tokens for a pipeline, from its options: nothing, the text so far, or a smaller
// model that must have the same vocabulary.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "engine/engine.h"
#include "gguf/gguf_file.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace chatglm {

enum class Speculative { kOff, kLookup, kDraftModel };

// name: "auto" (the draft model where there is one, else lookup), "off" or "lookup".
// Throws Error{kInvalidArgument} for another name, and for a draft model that would not be used.
Speculative speculative_named(const std::string& name, const std::filesystem::path& draft_model);

// A draft model's file and weights. They outlive the engine.
class DraftPart {
 public:
  // Throws what reading the file throws; Error{kModelFile}, naming the file, where a token of it is
  // not that of `tokenizer`.
  DraftPart(const std::filesystem::path& file, const Tokenizer& tokenizer);

  // Loads the weights. config: the large model's. Takes its share of engine_options.kv_budget_bytes
  // for the draft model's own cache, and sets what is left.
  std::unique_ptr<Drafter> load(const ModelConfig& config, const Placement& placement,
                                EngineOptions& engine_options, const LoadProgress& progress);

  const std::filesystem::path& file() const { return file_.path(); }

 private:
  GgufFile file_;
  std::unique_ptr<Model> model_;
};

}  // namespace chatglm
