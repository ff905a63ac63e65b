// See speculative.h.
#include "pipeline/speculative.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/draft_model.h"
#include "model/prefix.h"
#include "model/tensor_source.h"

namespace chatglm {
namespace {

// How a token is told in a message: its name, or its bytes.
std::string shown(const Tokenizer& tokenizer, int32_t id) {
  const std::string_view name = tokenizer.special_name(id);
  return "'" + std::string(name.empty() ? tokenizer.token_bytes(id) : name) + "'";
}

bool is_same_token(const Tokenizer& a, const Tokenizer& b, int32_t id) {
  return a.is_special(id) == b.is_special(id) && a.special_name(id) == b.special_name(id) &&
         a.token_bytes(id) == b.token_bytes(id);
}

void check_same_vocabulary(const Tokenizer& model, const Tokenizer& draft) {
  const std::string expected = "the draft model must have the vocabulary of the model, ";
  if (draft.vocab_size() != model.vocab_size()) {
    throw Error(ErrorKind::kModelFile, expected + std::to_string(model.vocab_size()) +
                                           " tokens, found " + std::to_string(draft.vocab_size()));
  }
  for (int32_t id = 0; id < model.vocab_size(); ++id) {
    if (is_same_token(model, draft, id)) continue;
    throw Error(ErrorKind::kModelFile, expected + "where token " + std::to_string(id) + " is " +
                                           shown(model, id) + ", found " + shown(draft, id));
  }
}

// Errors that name no file are of the draft model's.
template <typename Action>
auto naming_file(const GgufFile& file, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    if (!error.where().empty()) throw;
    throw Error(error.kind(), error.message(), display_name(file.path()));
  }
}

}  // namespace

Speculative speculative_named(const std::string& name, const std::filesystem::path& draft_model) {
  const bool has_draft_model = !draft_model.empty();
  if (name == "auto") return has_draft_model ? Speculative::kDraftModel : Speculative::kLookup;
  if (name != "off" && name != "lookup") {
    throw Error(ErrorKind::kInvalidArgument,
                "speculative is auto, off or lookup, found '" + name + "'");
  }
  if (has_draft_model) {
    throw Error(ErrorKind::kInvalidArgument,
                "a draft model is used with speculative auto only, found '" + name + "'");
  }
  return name == "off" ? Speculative::kOff : Speculative::kLookup;
}

DraftPart::DraftPart(const std::filesystem::path& file, const Tokenizer& tokenizer) : file_(file) {
  const std::unique_ptr<Tokenizer> own = load_tokenizer(file_);
  naming_file(file_, [&] { check_same_vocabulary(tokenizer, *own); });
}

std::unique_ptr<Drafter> DraftPart::load(const ModelConfig& config, const Placement& placement,
                                         EngineOptions& engine_options,
                                         const LoadProgress& progress) {
  return naming_file(file_, [&]() -> std::unique_ptr<Drafter> {
    ModelConfig draft = read_model_config(file_);
    if (draft.bidirectional_context != config.bidirectional_context) {
      throw Error(ErrorKind::kModelFile,
                  "the draft model must read a prompt as the model does, but only one of them sees "
                  "it as a whole");
    }
    draft.max_length = std::min(draft.max_length, config.max_length);
    GgufTensorSource source(file_);
    // A small model: whole, where the large one computes its logits.
    model_ = load_model(draft, source, placement.last_backend(), progress);
    // Of what is free beside the weights.
    const KvBudgets budgets = divide_kv_budget(config, draft, engine_options.kv_dtype,
                                               engine_options.kv_budget_bytes, placement);
    DraftModelOptions options{.max_batch_rows = engine_options.max_batch_rows,
                              .max_sequences = engine_options.max_sequences,
                              .kv_budget_bytes = budgets.draft_bytes,
                              .kv_dtype = engine_options.kv_dtype};
    if (draft.prefix_length > 0) {
      options.write_prefix = [&](std::span<const kernels::PagedKvView> kv,
                                 std::span<const PageId> pages) {
        store_prefix(draft, source, placement.last_backend(), kv, pages);
      };
    }
    engine_options.kv_budget_bytes = budgets.model_bytes;
    return std::make_unique<DraftModel>(*model_, placement.last_backend(), config.vocab_size,
                                        options);
  });
}

}  // namespace chatglm
