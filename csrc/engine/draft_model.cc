// See draft_model.h. The tokens of this model's sequences are those that are certain; what it
// guessed lies behind them in Sequence::draft, all computed but the last. So guesses are never
// published in the prefix cache, and right ones are not computed again.
#include "engine/draft_model.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"
#include "engine/memory_budget.h"

namespace chatglm {
namespace {

// That a token is right before anything is known: draft models mostly agree with the large one.
constexpr double kLikelihood = 0.6;

KvShape kv_shape(const ModelConfig& config, DType dtype) {
  return {config.num_layers, config.num_kv_heads, config.head_dim, dtype};
}

}  // namespace

DraftModel::DraftModel(Model& model, const Placement& placement, int64_t vocab_size,
                       const DraftModelOptions& options)
    : model_(model),
      vocab_size_(std::min(vocab_size, model.config().vocab_size)),
      kv_(placement, kv_shape(model.config(), options.kv_dtype), options.kv_budget_bytes),
      allocator_(kv_.max_pages(), PagedKv::kPageTokens),
      prefix_(make_cache_prefix(model.config().prefix_length, model.config().first_position,
                                allocator_, kv_, options.write_prefix)),
      limits_{.max_rows = options.max_batch_rows,
              .max_sequences = std::min(options.max_sequences, options.max_batch_rows),
              .max_logit_rows = options.max_sequences,
              .prefix_reuse = true},
      scheduler_(limits_, allocator_, prefix_),
      runner_(model, placement.last_backend(),
              limits_.max_rows + (model.config().bidirectional_context ? room() : 0),
              limits_.max_logit_rows, prefix_) {}

// Tokens of one sequence that this model can hold.
int64_t DraftModel::room() const {
  return std::min(model_.config().max_length,
                  kv_.max_pages() * PagedKv::kPageTokens - model_.config().prefix_length);
}

Outlook DraftModel::outlook(const Sequence& sequence, int64_t most_tokens) {
  // The last guess itself is not computed.
  const int64_t most = std::min(most_tokens, room() - sequence.num_tokens() + 1);
  if (most < 1) {
    forget(sequence.id);  // it would hold up others that fit
    return {};
  }
  return {most, 0, kLikelihood};
}

void DraftModel::forget(RequestId id) {
  if (Sequence* own = scheduler_.find(id)) scheduler_.remove(own);
}

void DraftModel::propose(std::span<const DraftTask> tasks) {
  std::vector<Draft> drafts;
  for (const DraftTask& task : tasks) drafts.push_back({follow(*task.sequence), task});
  catch_up(drafts);
  extend(drafts);
  for (const auto& [own, task] : drafts) task.sequence->draft = own->draft;
}

// Brings this model's own sequence up to the tokens of `sequence`; makes it where there is none.
Sequence* DraftModel::follow(const Sequence& sequence) {
  if (Sequence* own = scheduler_.find(sequence.id)) {
    const auto known = own->num_tokens();
    const auto begin = sequence.tokens.begin() + known;
    const auto right =
        std::mismatch(begin, sequence.tokens.end(), own->draft.begin(), own->draft.end()).first -
        begin;
    own->tokens.insert(own->tokens.end(), begin, sequence.tokens.end());
    if (!own->draft.empty()) {
      // What lies behind the last certain token, as far as its pages were kept.
      const int64_t kept =
          static_cast<int64_t>(own->pages.size()) * PagedKv::kPageTokens - prefix_.length;
      const int64_t computed = known + std::min<int64_t>(right, std::ssize(own->draft) - 1);
      scheduler_.mark_computed(*own, std::min(computed, kept));
      own->draft.clear();
    }
    return own;
  }
  Request request;
  request.prompt = sequence.tokens;
  request.max_new_tokens = std::numeric_limits<int32_t>::max();
  const auto prompt =
      std::span(sequence.tokens).first(static_cast<std::size_t>(sequence.prompt_tokens));
  scheduler_.add(std::make_unique<Sequence>(sequence.id, std::move(request),
                                            std::numeric_limits<int32_t>::max(),
                                            model_.prompt_layout(prompt)));
  return scheduler_.find(sequence.id);
}

// Computes tokens that are certain: of a long prompt one part, while the large model goes on alone.
// Whatever is computed up to its end gets the first guess.
void DraftModel::catch_up(std::span<const Draft> drafts) {
  const std::span<const Chunk> chunks = scheduler_.plan();
  if (chunks.empty()) return;
  runner_.run(chunks, kv_);
  guessing_.clear();
  guess_rows_.clear();
  int64_t end_row = 0;
  for (const Chunk& chunk : chunks) {
    Sequence& own = *chunk.sequence;
    end_row += chunk.num_logits();
    if (!chunk.must_be_repeated()) scheduler_.mark_computed(own, chunk.end);
    const bool is_asked =
        std::ranges::any_of(drafts, [&](const Draft& d) { return d.own == &own; });
    if (!is_asked || own.num_uncomputed() > 0) continue;
    guessing_.push_back(&own);
    guess_rows_.push_back(static_cast<int32_t>(end_row - 1));
  }
  add_guesses();
}

// Further guesses, each from the one before.
void DraftModel::extend(std::span<const Draft> drafts) {
  for (int64_t length = 1;; ++length) {
    std::vector<Chunk> chunks;
    for (const auto& [own, task] : drafts) {
      if (std::ssize(own->draft) != length || task.num_tokens <= length) continue;
      const int64_t last = own->num_tokens() + length - 1;
      if (!scheduler_.take_page_for(*own, last)) continue;
      chunks.push_back({own, last, last + 1, last, last + 1});
    }
    if (chunks.empty()) return;
    using Clock = std::chrono::steady_clock;
    const Clock::time_point begin = Clock::now();
    runner_.run(chunks, kv_);
    guessing_.clear();
    guess_rows_.clear();
    for (const Chunk& chunk : chunks) {
      guess_rows_.push_back(static_cast<int32_t>(guessing_.size()));
      guessing_.push_back(chunk.sequence);
    }
    add_guesses();
    const std::chrono::duration<double, std::milli> elapsed = Clock::now() - begin;
    constexpr double kMemory = 0.9;
    ms_per_token_ = ms_per_token_ == 0 ? elapsed.count()
                                       : kMemory * ms_per_token_ + (1 - kMemory) * elapsed.count();
  }
}

// Logits that are no numbers, and tokens that the large model does not have, are no guess: it goes
// on alone.
void DraftModel::add_guesses() {
  rules_.assign(guess_rows_.size(), ChoiceRule{});
  const std::span<const Choice> choices = runner_.choose(guess_rows_, rules_);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const bool is_token = choices[i].error.empty() && choices[i].token < vocab_size_;
    if (is_token) guessing_[i]->draft.push_back(choices[i].token);
  }
}

KvBudgets divide_kv_budget(const ModelConfig& model, const ModelConfig& draft, DType kv_dtype,
                           int64_t total_bytes, const Placement& placement) {
  const int64_t model_page = PagedKv::page_bytes(kv_shape(model, kv_dtype));
  const int64_t draft_page = PagedKv::page_bytes(kv_shape(draft, kv_dtype));
  const int64_t both = model_page + draft_page;
  if (total_bytes == 0) {
    std::vector<PageShare> shares = PagedKv::page_shares(placement, kv_shape(model, kv_dtype));
    shares.push_back({&placement.last_backend(), draft_page});
    total_bytes = both * default_kv_pages(
                             shares, PagedKv::kPageTokens,
                             std::max(model.prefix_length, draft.prefix_length) + model.max_length);
  }
  const int64_t pages = total_bytes / both;
  if (pages < 1) {
    throw Error(ErrorKind::kInvalidArgument,
                "the KV cache needs at least one page of " + std::to_string(model_page) +
                    " bytes for the model and one of " + std::to_string(draft_page) +
                    " for the draft model, but its budget is " + std::to_string(total_bytes));
  }
  return {pages * model_page, pages * draft_page};
}

}  // namespace chatglm
