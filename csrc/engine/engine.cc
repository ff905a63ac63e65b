// Ties scheduler, runner and samplers together: one step is plan, compute, then let every sequence
// take what the step brought it.
#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <span>
#include <utility>

#include "base/error.h"
#include "engine/memory_budget.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"
#include "kv/block_allocator.h"
#include "kv/paged_kv.h"

namespace chatglm {
namespace {

// Logits rows of one step that requests with on_prompt_logits share: bounds the logits buffer.
constexpr int64_t kPromptLogitRows = 64;

EngineOptions validated(EngineOptions options) {
  auto require = [](bool holds, const char* field, const char* range, int64_t value) {
    if (holds) return;
    throw Error(ErrorKind::kInvalidArgument,
                std::string(field) + " must be " + range + ", found " + std::to_string(value));
  };
  require(options.max_batch_rows >= 1, "max_batch_rows", "at least 1", options.max_batch_rows);
  require(options.max_sequences >= 1, "max_sequences", "at least 1", options.max_sequences);
  require(options.kv_budget_bytes >= 0, "kv_budget_bytes", "0 (automatic) or positive",
          options.kv_budget_bytes);
  require(options.num_guesses >= 0, "num_guesses", "0 (as many as pay) or positive",
          options.num_guesses);
  options.max_sequences = std::min(options.max_sequences, options.max_batch_rows);
  return options;
}

KvShape kv_shape(const ModelConfig& config, DType dtype) {
  return {config.num_layers, config.num_kv_heads, config.head_dim, dtype};
}

int64_t kv_budget_bytes(const ModelConfig& config, const EngineOptions& options,
                        const Placement& placement) {
  if (options.kv_budget_bytes > 0) return options.kv_budget_bytes;
  const KvShape shape = kv_shape(config, options.kv_dtype);
  return PagedKv::page_bytes(shape) * default_kv_pages(PagedKv::page_shares(placement, shape),
                                                       PagedKv::kPageTokens,
                                                       config.prefix_length + config.max_length);
}

// Tokens that are chosen after the chunk's rows: its sequence's next one, and one for each guess.
int64_t num_choices(const Chunk& chunk) {
  const bool is_whole = chunk.end >= chunk.sequence->num_tokens() && !chunk.must_be_repeated();
  return is_whole && chunk.sequence->wants_next_token() ? 1 + chunk.num_guesses() : 0;
}

bool wants_prompt_logits(const Sequence& sequence) {
  return sequence.on_prompt_logits && sequence.num_logits_given < sequence.prompt_tokens;
}

}  // namespace

struct Engine::Impl {
  Impl(Model& model_, const Placement& placement, const EngineOptions& options,
       std::unique_ptr<Drafter> drafter)
      : model(model_),
        config(model_.config()),
        num_adapters(model_.num_adapters()),
        kv(placement, kv_shape(config, options.kv_dtype),
           kv_budget_bytes(config, options, placement)),
        cache_tokens(kv.max_pages() * PagedKv::kPageTokens - config.prefix_length),
        allocator(kv.max_pages(), PagedKv::kPageTokens),
        prefix(make_cache_prefix(config.prefix_length, config.first_position, allocator, kv,
                                 options.write_prefix)),
        limits{.max_rows = options.max_batch_rows,
               .max_sequences = options.max_sequences,
               .max_logit_rows = std::max(options.max_sequences, kPromptLogitRows),
               .prefix_reuse = options.prefix_reuse},
        scheduler(limits, allocator, prefix),
        runner(model_, placement.last_backend(), limits.max_rows + longest_bidirectional(),
               limits.max_logit_rows, prefix),
        speculation(std::move(drafter), options.num_guesses) {}

  // Tokens that a step may have to compute together, whatever its limit.
  int64_t longest_bidirectional() const {
    return config.bidirectional_context ? std::min(config.max_length, cache_tokens) : 0;
  }

  void check_prompt_length(const Request& request) const;
  void check_token(int32_t token, const char* field) const;
  void compute(std::span<const Chunk> chunks);
  void ask(const Chunk& chunk, int64_t first_row);
  void take(const Chunk& chunk, int64_t first_row, std::span<const Choice> choices);
  void take_tokens(const Chunk& chunk, int64_t first_row, std::span<const Choice> choices);
  void finish(Sequence* sequence, FinishReason reason, const std::string& error = {});
  void remove(Sequence* sequence);

  const Model& model;
  const ModelConfig& config;
  const int32_t num_adapters;
  PagedKv kv;
  const int64_t cache_tokens;  // tokens that the whole cache holds
  BlockAllocator allocator;
  const CachePrefix prefix;
  const SchedulerLimits limits;
  Scheduler scheduler;
  Runner runner;
  Speculation speculation;
  SamplerWorkspace workspace;
  // Of the step: what is chosen by the samplers' rules, and from which rows of the logits.
  std::vector<ChoiceRule> rules;
  std::vector<int32_t> choice_rows;
  std::span<const Choice> choices;
  std::vector<StepOutput> events;  // not yet returned
  EngineStats counts;              // what stats() can't ask others for
  RequestId last_id = 0;
};

Engine::Engine(Model& model, const Placement& placement, const EngineOptions& options,
               std::unique_ptr<Drafter> drafter)
    : impl_(std::make_unique<Impl>(model, placement, validated(options), std::move(drafter))) {}

Engine::~Engine() = default;

void Engine::check(const Request& request) const {
  if (request.prompt.empty()) {
    throw Error(ErrorKind::kInvalidArgument, "the prompt must have at least one token");
  }
  for (int32_t token : request.prompt) impl_->check_token(token, "prompt");
  if (request.max_new_tokens < 0) {
    throw Error(ErrorKind::kInvalidArgument, "max_new_tokens must be at least 0, found " +
                                                 std::to_string(request.max_new_tokens));
  }
  if (request.adapter < -1 || request.adapter >= impl_->num_adapters) {
    throw Error(ErrorKind::kInvalidArgument,
                "adapter must be -1 (none) or the index of one of the model's " +
                    std::to_string(impl_->num_adapters) + ", found " +
                    std::to_string(request.adapter));
  }
  request.sampling.validate();
  for (const std::vector<int32_t>& word : request.sampling.bad_words_ids) {
    for (int32_t token : word) impl_->check_token(token, "bad_words_ids");
  }
  impl_->check_prompt_length(request);
  impl_->model.prompt_layout(request.prompt);
}

void Engine::Impl::check_token(int32_t token, const char* field) const {
  if (token >= 0 && token < config.vocab_size) return;
  throw Error(ErrorKind::kInvalidArgument,
              "token ids must be between 0 and " + std::to_string(config.vocab_size - 1) +
                  ", found " + std::to_string(token),
              field);
}

void Engine::Impl::check_prompt_length(const Request& request) const {
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const bool has_answer = request.max_new_tokens > 0;
  const int64_t needed = prompt_tokens + (has_answer ? 1 : 0);
  auto require = [&](int64_t room, const std::string& what) {
    if (needed <= room) return;
    throw Error(ErrorKind::kContextLength,
                "the prompt has " + std::to_string(prompt_tokens) + " tokens, but " + what + " " +
                    std::to_string(room) + (has_answer ? " together with the answer's first" : ""));
  };
  require(config.max_length, "the model can take at most");
  require(cache_tokens, "the KV cache's budget of " +
                            std::to_string(kv.max_pages() * kv.page_bytes()) +
                            " bytes has room for");
}

RequestId Engine::submit(Request request) {
  check(request);
  const int64_t room = std::min(impl_->config.max_length, impl_->cache_tokens);
  const RequestId id = ++impl_->last_id;
  const PromptLayout layout = impl_->model.prompt_layout(request.prompt);
  impl_->scheduler.add(std::make_unique<Sequence>(id, std::move(request), room, layout));
  return id;
}

void Engine::cancel(RequestId id) {
  if (Sequence* sequence = impl_->scheduler.find(id)) sequence->is_cancelled = true;
}

bool Engine::has_work() const {
  const Scheduler& scheduler = impl_->scheduler;
  return scheduler.num_running() > 0 || scheduler.num_waiting() > 0 || !impl_->events.empty();
}

std::vector<StepOutput> Engine::step() {
  Impl& impl = *impl_;
  for (Sequence* sequence : impl.scheduler.cancelled()) {
    impl.finish(sequence, FinishReason::kCancelled);
  }
  const std::span<const Chunk> chunks = impl.scheduler.plan();
  if (!chunks.empty()) {
    impl.speculation.add_guesses(impl.scheduler, chunks);
    impl.compute(chunks);
    ++impl.counts.steps;
    int64_t row = 0;
    std::span<const Choice> choices = impl.choices;
    for (const Chunk& chunk : chunks) {
      const auto count = static_cast<std::size_t>(num_choices(chunk));
      const int64_t num_rows = chunk.num_logits();
      try {
        impl.take(chunk, row, choices.first(count));
      } catch (const std::exception& error) {
        impl.finish(chunk.sequence, FinishReason::kError, error.what());
      }
      choices = choices.subspan(count);
      row += num_rows;
    }
  }
  return std::exchange(impl.events, {});
}

// Runs the model, and all choices of the step at once. Changes no sequence.
void Engine::Impl::compute(std::span<const Chunk> chunks) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  runner.run(chunks, kv);
  rules.clear();
  choice_rows.clear();
  int64_t row = 0;
  for (const Chunk& chunk : chunks) {
    ask(chunk, row);
    row += chunk.num_logits();
  }
  choices = runner.choose(choice_rows, rules);
  const std::chrono::duration<double, std::milli> elapsed = Clock::now() - begin;
  speculation.note_step(chunks, elapsed.count());
}

// Adds the chunk's choices to the step's, and has those logits brought that are wanted here. Its
// logits begin at first_row.
void Engine::Impl::ask(const Chunk& chunk, int64_t first_row) {
  Sequence& sequence = *chunk.sequence;
  const int64_t count = num_choices(chunk);
  const int64_t first_choice = first_row + chunk.num_logits() - count;
  if (count > 0) {
    const std::span<const int32_t> guesses(sequence.draft);
    sequence.sampler.add_rules(sequence.tokens, guesses.first(static_cast<std::size_t>(count - 1)),
                               rules);
  }
  for (int64_t i = 0; i < count; ++i) {
    choice_rows.push_back(static_cast<int32_t>(first_choice + i));
  }
  if (wants_prompt_logits(sequence) && chunk.num_logits() > 0) {
    runner.download(first_row, chunk.num_logits());
  } else if (sequence.sampler.wants_logprobs() && count > 0) {
    runner.download(first_choice, count);
  }
}

// Its logits begin at first_row.
void Engine::Impl::take(const Chunk& chunk, int64_t first_row,
                        std::span<const Choice> chunk_choices) {
  Sequence& sequence = *chunk.sequence;
  counts.prompt_tokens_computed +=
      std::max<int64_t>(0, std::min(chunk.end, sequence.prompt_tokens) - chunk.begin);
  if (!chunk.must_be_repeated()) {
    scheduler.mark_computed(sequence, std::min(chunk.end, sequence.num_tokens()));
  }

  if (wants_prompt_logits(sequence)) {
    if (chunk.num_logits() > 0) {
      sequence.on_prompt_logits(chunk.first_logit,
                                runner.downloaded(first_row, chunk.num_logits()));
    }
    sequence.num_logits_given = std::max(sequence.num_logits_given, chunk.end_logit);
  }
  if (sequence.num_uncomputed() > 0) return;
  if (!sequence.wants_next_token()) return finish(&sequence, FinishReason::kLength);
  take_tokens(chunk, first_row + chunk.num_logits() - std::ssize(chunk_choices), chunk_choices);
}

// After the last token and each right guess: what was chosen there, which is what would have been
// in a step of its own. The first one that differs from the guess makes the rest worthless.
// first_row: of the logits that the first token was chosen from.
void Engine::Impl::take_tokens(const Chunk& chunk, int64_t first_row,
                               std::span<const Choice> chunk_choices) {
  Sequence& sequence = *chunk.sequence;
  const auto num_guesses = static_cast<std::size_t>(chunk.num_guesses());
  sequence.num_proposed += chunk.num_guesses();
  counts.tokens_proposed += chunk.num_guesses();
  const int64_t first = sequence.num_tokens();
  FinishReason reason = FinishReason::kNone;
  for (std::size_t row = 0; row <= num_guesses && reason == FinishReason::kNone; ++row) {
    scheduler.mark_computed(sequence, sequence.num_tokens());
    const Choice& choice = chunk_choices[row];
    if (!choice.error.empty()) throw Error(ErrorKind::kRuntime, choice.error);
    sequence.sampler.next();
    SampledToken token;
    token.token = choice.token;
    if (sequence.sampler.wants_logprobs()) {
      sequence.sampler.add_logprobs(runner.downloaded(first_row + static_cast<int64_t>(row), 1),
                                    workspace, token);
    }
    const bool was_guessed = row < num_guesses && sequence.draft[row] == token.token;
    ++counts.tokens_generated;
    counts.tokens_accepted += was_guessed ? 1 : 0;
    sequence.num_accepted += was_guessed ? 1 : 0;
    reason = sequence.append(token.token);
    events.push_back(sequence.event(reason));
    events.back().token = std::move(token);
    if (!was_guessed) break;
  }
  speculation.learn(sequence, first);
  if (reason != FinishReason::kNone) remove(&sequence);
}

void Engine::Impl::finish(Sequence* sequence, FinishReason reason, const std::string& error) {
  events.push_back(sequence->event(reason));
  events.back().error = error;
  remove(sequence);
}

void Engine::Impl::remove(Sequence* sequence) {
  speculation.forget(sequence->id);
  scheduler.remove(sequence);
}

std::vector<StepOutput> Engine::fail_running(const std::string& error) {
  Impl& impl = *impl_;
  std::vector<Sequence*> failed = impl.scheduler.running();
  if (failed.empty()) failed = impl.scheduler.waiting();
  for (Sequence* sequence : failed) impl.finish(sequence, FinishReason::kError, error);
  return std::exchange(impl.events, {});
}

EngineStats Engine::stats() const {
  EngineStats stats = impl_->counts;
  stats.prompt_tokens_reused = impl_->scheduler.num_prompt_tokens_reused();
  stats.preemptions = impl_->scheduler.num_preemptions();
  stats.running = impl_->scheduler.num_running();
  stats.waiting = impl_->scheduler.num_waiting();
  stats.kv_pages_used = impl_->allocator.num_used();
  stats.kv_bytes_allocated = impl_->kv.allocated_bytes();
  return stats;
}

}  // namespace chatglm
