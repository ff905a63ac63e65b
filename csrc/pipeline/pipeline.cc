#include "pipeline/pipeline.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "chat/code_language.h"
#include "engine/prompt_lookup.h"
#include "model/prefix.h"
#include "model/tensor_source.h"
#include "pipeline/devices.h"
#include "pipeline/read_answer.h"
#include "pipeline/speculative.h"
#include "pipeline/text_stream.h"

namespace chatglm {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

[[noreturn]] void invalid(const std::string& message) {
  throw Error(ErrorKind::kInvalidArgument, message);
}

DType kv_dtype_named(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    if (dtype_info(dtype).name == name) return dtype;
  }
  invalid("kv_dtype is f32, f16 or q8_0, found '" + name + "'");
}

int64_t checked_max_length(int64_t asked, int64_t limit, const char* whose) {
  if (asked < 0) invalid("max_length is at least 1, found " + std::to_string(asked));
  if (asked > limit) {
    invalid("max_length is at most " + std::to_string(limit) + ", " + whose + ", found " +
            std::to_string(asked));
  }
  return asked == 0 ? limit : asked;
}

SamplingParams recommended_sampling(const GgufFile& file) {
  // Stored as float32: 0.8 comes as 0.800000012.
  const auto rounded = [](double value) { return std::round(value * 1e6) / 1e6; };
  SamplingParams params;
  if (const auto value = file.find<double>("chatglm_cpp.default_temperature")) {
    params.temperature = static_cast<float>(rounded(*value));
  }
  if (const auto value = file.find<double>("chatglm_cpp.default_top_p")) {
    params.top_p = rounded(*value);
  }
  try {
    params.validate();
  } catch (const Error& error) {
    throw Error(ErrorKind::kModelFile, "chatglm_cpp.default_*: " + error.message(),
                display_name(file.path()));
  }
  return params;
}

// The share that `file` has of the bytes of both.
double share_of(const std::filesystem::path& file, const std::filesystem::path& other) {
  const auto bytes = static_cast<double>(std::filesystem::file_size(file));
  return bytes / (bytes + static_cast<double>(std::filesystem::file_size(other)));
}

// What a part of the loading tells, as progress from `begin` to `end` of all of it.
LoadProgress part_of(const LoadProgress& progress, double begin, double end) {
  if (!progress) return {};
  return [=, &progress](double done) { progress(begin + (end - begin) * done); };
}

}  // namespace

struct Pipeline::Impl {
  Impl(const std::filesystem::path& model_file, const PipelineOptions& options);

  void load_adapters(std::span<const NamedAdapter> adapters);
  int32_t adapter_index(const std::string& name) const;

  // In the order in which they need each other: the engine's thread ends first.
  GgufFile file;
  ModelConfig config;
  std::string model_type;
  int64_t max_length;
  SamplingParams default_sampling;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatFormat> chat_format;
  Devices devices;
  const RecordingBackend* recorder = nullptr;  // the device's backend, where it records
  std::unique_ptr<Model> model;
  std::vector<std::string> adapter_names;  // by their index in the model
  std::unique_ptr<DraftPart> draft;        // nullptr: none
  std::unique_ptr<EngineThread> engine;
  double load_ms = 0;
};

Pipeline::Impl::Impl(const std::filesystem::path& model_file, const PipelineOptions& options)
    : file(model_file),
      config(read_model_config(file)),
      model_type(file.find<std::string>("chatglm_cpp.model_type").value_or(config.architecture)),
      max_length(checked_max_length(options.max_length, config.max_length, "the model's own")),
      default_sampling(recommended_sampling(file)),
      tokenizer(load_tokenizer(file)),
      chat_format(load_chat_format(file, *tokenizer)),
      devices(options.device, options.gpu_layers, options.num_threads, config.num_layers) {
  const Clock::time_point begin = Clock::now();
  if (tokenizer->vocab_size() > config.vocab_size) {
    throw Error(ErrorKind::kModelFile,
                "the tokenizer has " + std::to_string(tokenizer->vocab_size()) +
                    " tokens, but the model only " + std::to_string(config.vocab_size),
                display_name(file.path()));
  }
  const Speculative speculative = speculative_named(options.speculative, options.draft_model);
  if (speculative == Speculative::kDraftModel && !options.record_inputs) {
    draft = std::make_unique<DraftPart>(options.draft_model, *tokenizer);
  }
  EngineOptions engine_options;
  engine_options.kv_dtype = kv_dtype_named(options.kv_dtype);
  engine_options.kv_budget_bytes = options.kv_cache_bytes;
  if (options.record_inputs) recorder = &devices.record_inputs();
  const Placement& placement = devices.placement();
  GgufTensorSource source(file);
  ModelConfig limited = config;
  limited.max_length = max_length;
  // Of both models' files together.
  const double share = draft == nullptr ? 1.0 : share_of(file.path(), draft->file());
  model = load_model(limited, source, placement, part_of(options.progress, 0, share));
  load_adapters(options.adapters);
  std::unique_ptr<Drafter> drafter;
  if (draft != nullptr) {
    drafter = draft->load(limited, placement, engine_options, part_of(options.progress, share, 1));
  } else if (speculative == Speculative::kLookup && !options.record_inputs) {
    drafter = std::make_unique<PromptLookup>();
  }
  if (limited.prefix_length > 0) {
    engine_options.write_prefix = [&](std::span<const kernels::PagedKvView> kv,
                                      std::span<const PageId> pages) {
      store_prefix(limited, source, placement, kv, pages);
    };
  }
  engine = std::make_unique<EngineThread>(
      std::make_unique<Engine>(*model, placement, engine_options, std::move(drafter)));
  load_ms = milliseconds_between(begin, Clock::now());
}

void Pipeline::Impl::load_adapters(std::span<const NamedAdapter> adapters) {
  for (const NamedAdapter& adapter : adapters) {
    if (adapter.name.empty()) invalid("an adapter needs a name, found an empty one");
    if (std::find(adapter_names.begin(), adapter_names.end(), adapter.name) !=
        adapter_names.end()) {
      invalid("two adapters have the name '" + adapter.name + "'");
    }
    model->add_adapter(LoraFile(adapter.file, config.architecture));
    adapter_names.push_back(adapter.name);
  }
}

int32_t Pipeline::Impl::adapter_index(const std::string& name) const {
  if (name.empty()) return -1;
  const auto found = std::find(adapter_names.begin(), adapter_names.end(), name);
  if (found != adapter_names.end()) return static_cast<int32_t>(found - adapter_names.begin());
  std::string known;
  for (const std::string& other : adapter_names)
    known += (known.empty() ? "'" : ", '") + other + "'";
  invalid("adapter: expected " +
          (known.empty() ? "none, since the pipeline was opened without one" : "one of " + known) +
          ", found '" + name + "'");
}

namespace {

// What becomes of the tokens that the engine gives for one request.
class RequestGeneration final : public Generation {
 public:
  // keep_alive owns the tokenizer, the format and the engine. format: nullptr for raw completion.
  RequestGeneration(std::shared_ptr<const void> keep_alive, const Tokenizer& tokenizer,
                    const ChatFormat* format, std::vector<std::string> stop, int64_t prompt_tokens)
      : keep_alive_(std::move(keep_alive)),
        tokenizer_(tokenizer),
        format_(format),
        text_stream_(tokenizer, format, std::move(stop)) {
    timings_.prompt_tokens = prompt_tokens;
  }

  void start(EngineThread& engine, Request request) {
    stop_token_ids_ = request.stop_token_ids;
    submitted_ = Clock::now();
    stream_ = engine.submit(std::move(request));
  }

  std::optional<TextDelta> next(std::chrono::milliseconds timeout) override {
    const Clock::time_point deadline = Clock::now() + timeout;
    while (!finished()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      std::optional<StepOutput> event = stream_->next(std::max(left, left.zero()));
      if (!event) return std::nullopt;
      std::string text = take(*event);
      pending_.thoughts += text_stream_.take_thoughts();
      if (!text.empty() || !pending_.thoughts.empty() ||
          (finished() && !pending_.token_ids.empty())) {
        pending_.text = std::move(text);
        return std::exchange(pending_, {});
      }
    }
    return std::nullopt;
  }

  bool finished() const override { return finish_reason_ != FinishReason::kNone; }
  FinishReason finish_reason() const override { return finish_reason_; }
  void cancel() override {
    if (!finished()) finish(FinishReason::kCancelled);
  }
  const ChatMessage& message() const override { return message_; }
  const std::string& text() const override { return text_stream_.text(); }
  GenerationTimings timings() const override { return timings_; }

 private:
  // The text that became complete with this event.
  std::string take(StepOutput& event) {
    timings_.reused_tokens = event.reused_tokens;
    timings_.proposed_tokens = event.proposed_tokens;
    timings_.accepted_tokens = event.accepted_tokens;
    if (event.finish == FinishReason::kError) {
      finish(FinishReason::kError);
      throw Error(ErrorKind::kRuntime, event.error);
    }
    std::string text;
    if (event.token.token >= 0) text = take_token(event.token);
    if (text_stream_.stopped()) {
      finish(FinishReason::kStop);
    } else if (event.finish != FinishReason::kNone) {
      text += finish(event.finish);
    }
    return text;
  }

  std::string take_token(SampledToken& token) {
    const Clock::time_point now = Clock::now();
    if (timings_.output_tokens == 0) {
      first_token_ = now;
      timings_.prompt_ms = milliseconds_between(submitted_, now);
    }
    ++timings_.output_tokens;
    timings_.output_ms = milliseconds_between(first_token_, now);
    const int32_t id = token.token;
    if (std::find(stop_token_ids_.begin(), stop_token_ids_.end(), id) != stop_token_ids_.end()) {
      return {};
    }
    ids_.push_back(id);
    pending_.token_ids.push_back(id);
    pending_.tokens.push_back(std::move(token));
    return text_stream_.push(id);
  }

  // The text that was held back. Destroying the stream cancels what still runs.
  std::string finish(FinishReason reason) {
    finish_reason_ = reason;
    stream_.reset();
    std::string rest = text_stream_.finish();
    if (format_ != nullptr) {
      message_ = read_answer(tokenizer_, *format_, ids_, text_stream_.text());
    }
    return rest;
  }

  const std::shared_ptr<const void> keep_alive_;
  const Tokenizer& tokenizer_;
  const ChatFormat* const format_;
  std::vector<int32_t> stop_token_ids_;
  TextStream text_stream_;
  std::vector<int32_t> ids_;  // generated, without the stop token
  TextDelta pending_;         // tokens whose text is not complete
  FinishReason finish_reason_ = FinishReason::kNone;
  ChatMessage message_;
  GenerationTimings timings_;
  Clock::time_point submitted_;
  Clock::time_point first_token_;
  std::unique_ptr<RequestStream> stream_;
};

void check_options(const GenerationOptions& options) {
  if (options.max_new_tokens < 0) {
    invalid("max_new_tokens is at least 1, found " + std::to_string(options.max_new_tokens));
  }
  if (options.max_context_length < 0) {
    invalid("max_context_length is at least 1, found " +
            std::to_string(options.max_context_length));
  }
  options.sampling.validate();
}

void check_prompt_fits(int64_t prompt_tokens, int64_t max_length, int64_t max_context_length) {
  const std::string found = "the prompt has " + std::to_string(prompt_tokens) + " tokens";
  if (max_context_length > 0 && prompt_tokens > max_context_length) {
    throw Error(
        ErrorKind::kContextLength,
        found + ", the limit is " + std::to_string(max_context_length) + " (max_context_length)");
  }
  if (prompt_tokens >= max_length) {
    throw Error(ErrorKind::kContextLength,
                found + ", the limit is " + std::to_string(max_length - 1) + " (max_length " +
                    std::to_string(max_length) + " less one token for the answer)");
  }
}

}  // namespace

Pipeline::Pipeline(const std::filesystem::path& model_file, const PipelineOptions& options)
    : impl_(std::make_shared<Impl>(model_file, options)) {}

Pipeline::~Pipeline() = default;

const ModelConfig& Pipeline::config() const {
  return impl_->config;
}
const std::string& Pipeline::model_type() const {
  return impl_->model_type;
}
int64_t Pipeline::max_length() const {
  return impl_->max_length;
}
const SamplingParams& Pipeline::default_sampling() const {
  return impl_->default_sampling;
}
const Tokenizer& Pipeline::tokenizer() const {
  return *impl_->tokenizer;
}
const ChatFormat* Pipeline::chat_format() const {
  return impl_->chat_format.get();
}
std::span<const std::string> Pipeline::adapters() const {
  return impl_->adapter_names;
}

const ChatFormat& Pipeline::required_chat_format(std::string_view instead) const {
  if (impl_->chat_format != nullptr) return *impl_->chat_format;
  const std::string& name = config().name;
  throw Error(ErrorKind::kUnsupportedModel,
              (name.empty() ? "this" : name) +
                  " is a base model, which continues text and knows no conversation: " +
                  std::string(instead),
              display_name(impl_->file.path()));
}

std::string Pipeline::system_info() const {
  return impl_->devices.description();
}
double Pipeline::load_ms() const {
  return impl_->load_ms;
}
EngineStats Pipeline::stats() const {
  return impl_->engine->stats();
}

std::unique_ptr<Generation> Pipeline::chat(std::span<const ChatMessage> messages,
                                           const GenerationOptions& options) {
  const ChatFormat& format = required_chat_format("use generate()");
  return start(format.encode(messages), options, &format);
}

std::unique_ptr<Generation> Pipeline::generate(std::string_view prompt,
                                               const GenerationOptions& options,
                                               std::string_view language) {
  std::string with_line;
  if (!language.empty()) {
    const ChatFormat* const format = impl_->chat_format.get();
    if (format == nullptr || !format->has_language_lines()) {
      throw Error(ErrorKind::kUnsupportedModel,
                  "a programming language can be chosen for CodeGeeX2 only; this model is of the "
                  "type " +
                      impl_->model_type,
                  display_name(impl_->file.path()));
    }
    with_line = with_language_line(prompt, language);
    prompt = with_line;
  }
  const Tokenizer& tokenizer = *impl_->tokenizer;
  return start(tokenizer.as_prompt(tokenizer.encode(prompt)), options, nullptr);
}

std::unique_ptr<Generation> Pipeline::start(std::vector<int32_t> prompt,
                                            const GenerationOptions& options,
                                            const ChatFormat* format) {
  check_options(options);
  const int64_t max_length =
      checked_max_length(options.max_length, impl_->max_length, "the pipeline's own");
  const auto prompt_tokens = static_cast<int64_t>(prompt.size());
  check_prompt_fits(prompt_tokens, max_length, options.max_context_length);

  Request request;
  request.prompt = std::move(prompt);
  request.sampling = options.sampling;
  request.adapter = impl_->adapter_index(options.adapter);
  const int64_t room = max_length - prompt_tokens;
  request.max_new_tokens =
      options.max_new_tokens == 0 ? room : std::min(room, options.max_new_tokens);
  const std::span<const int32_t> stop_ids =
      format != nullptr ? format->stop_ids() : impl_->tokenizer->eos_ids();
  request.stop_token_ids.assign(stop_ids.begin(), stop_ids.end());
  auto generation = std::make_unique<RequestGeneration>(impl_, *impl_->tokenizer, format,
                                                        options.stop, prompt_tokens);
  generation->start(*impl_->engine, std::move(request));
  return generation;
}

void Pipeline::logits(std::span<const int32_t> ids,
                      const std::function<void(int64_t, std::span<const float>)>& sink,
                      const std::function<bool()>& interrupt, const std::string& adapter,
                      int64_t first_position) {
  constexpr std::chrono::milliseconds kAskAgain{50};
  Request request;
  request.prompt.assign(ids.begin(), ids.end());
  request.on_prompt_logits = sink;
  request.adapter = impl_->adapter_index(adapter);
  request.first_prompt_logit = first_position;
  const std::unique_ptr<RequestStream> stream = impl_->engine->submit(std::move(request));
  bool interrupted = false;
  // Also after an interrupt until the engine is done with it: sink is the caller's.
  for (;;) {
    const std::optional<StepOutput> event = stream->next(kAskAgain);
    if (event && event->finish == FinishReason::kError) {
      throw Error(ErrorKind::kRuntime, event->error);
    }
    if (event && event->finish != FinishReason::kNone) return;
    if (!interrupted && interrupt()) {
      interrupted = true;
      stream->cancel();
    }
  }
}

std::vector<MatrixInputs> Pipeline::recorded_inputs() const {
  std::vector<MatrixInputs> all;
  if (impl_->recorder == nullptr) return all;
  for (const RecordedInputs& inputs : impl_->recorder->recorded()) {
    for (const GgufTensor& tensor : impl_->file.tensors()) {
      const bool is_part =
          std::count(inputs.sources.begin(), inputs.sources.end(), tensor.view.data) > 0;
      if (is_part) all.push_back({tensor.name, inputs.rows, inputs.sum_squares});
    }
  }
  return all;
}

}  // namespace chatglm
