// A model file as something to talk to: tokenizer, chat format, model and engine in one object.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_format.h"
#include "engine/engine_thread.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace chatglm {

// A LoRA adapter beside the model: the name that requests choose it by, and its GGUF file.
struct NamedAdapter {
  std::string name;
  std::filesystem::path file;
};

struct PipelineOptions {
  // As in Devices:
  std::string device = "auto";
  std::optional<int64_t> gpu_layers = std::nullopt;
  int num_threads = 0;           // 0: default_num_threads()
  std::string kv_dtype = "f16";  // f32, f16, q8_0
  int64_t kv_cache_bytes = 0;    // 0: default_kv_pages() of the devices
  int64_t max_length = 0;        // 0: the model's; else at most the model's
  std::vector<NamedAdapter> adapters = {};
  // Several tokens in a step where guesses of them are right; the tokens are the same as without.
  std::string speculative = "auto";        // auto (the draft model, else lookup), off, lookup
  std::filesystem::path draft_model = {};  // GGUF file of the same vocabulary; empty: none
  LoadProgress progress = {};
  // For recorded_inputs(); slower, and without speculation: inputs of wrong guesses would count.
  bool record_inputs = false;
};

// The inputs of one matrix of the file.
struct MatrixInputs {
  std::string name;
  int64_t rows;                     // of inputs
  std::vector<double> sum_squares;  // (cols) over those rows
};

struct GenerationOptions {
  SamplingParams sampling;
  int64_t max_length = 0;          // prompt + new tokens; 0: the pipeline's
  int64_t max_new_tokens = 0;      // 0: what max_length leaves
  int64_t max_context_length = 0;  // longest prompt accepted; 0: max_length
  std::vector<std::string> stop;   // generation ends before the first of these texts
  std::string adapter;             // name of one of the pipeline's; empty: none
};

// One piece of a streamed answer.
struct TextDelta {
  std::string text;                  // complete UTF-8, may be empty
  std::string thoughts;              // what the model thought before its answer
  std::vector<int32_t> token_ids;    // the tokens this text came from
  std::vector<SampledToken> tokens;  // the same with log probabilities, where asked for
};

struct GenerationTimings {
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;
  int64_t output_tokens = 0;
  int64_t proposed_tokens = 0;  // guesses of the output that were verified, and
  int64_t accepted_tokens = 0;  // those that were right
  double prompt_ms = 0;         // submission to first token
  double output_ms = 0;         // first token to last
};

// A running generation; one thread at a time uses it. Destroying it cancels. It may outlive its
// Pipeline.
class Generation {
 public:
  virtual ~Generation() = default;
  // The next piece; nothing where the timeout passed or the generation is finished (see
  // finished()). Throws Error{kRuntime} where the generation failed.
  virtual std::optional<TextDelta> next(std::chrono::milliseconds timeout) = 0;
  virtual bool finished() const = 0;
  virtual FinishReason finish_reason() const = 0;
  // Finishes at once, with what has come so far.
  virtual void cancel() = 0;
  // After it finished: the whole answer. message() for chat (tool calls parsed), text() for both.
  virtual const ChatMessage& message() const = 0;
  virtual const std::string& text() const = 0;
  virtual GenerationTimings timings() const = 0;
};

// Safe to use from several threads at a time.
class Pipeline {
 public:
  // Throws what reading the file throws, and Error{kInvalidArgument} for bad options.
  explicit Pipeline(const std::filesystem::path& model_file, const PipelineOptions& options = {});
  ~Pipeline();

  const ModelConfig& config() const;  // as in the file
  const std::string& model_type()
      const;                   // "chatglm3"; the architecture where the file does not say
  int64_t max_length() const;  // as asked for in the options
  // What the file recommends, over the defaults of SamplingParams.
  const SamplingParams& default_sampling() const;
  const Tokenizer& tokenizer() const;
  const ChatFormat* chat_format() const;  // nullptr: base model
  // Throws Error{kUnsupportedModel} for a base model; it names the model, and what to do `instead`.
  const ChatFormat& required_chat_format(std::string_view instead) const;
  std::span<const std::string> adapters() const;  // their names
  std::string system_info() const;
  double load_ms() const;
  EngineStats stats() const;

  // Throws Error{kContextLength} where the prompt does not fit, Error{kInvalidArgument} for bad
  // options, Error{kUnsupportedModel} for chat() on a base model.
  std::unique_ptr<Generation> chat(std::span<const ChatMessage> messages,
                                   const GenerationOptions& options);
  // language: of the program to be written, for CodeGeeX2; empty: none.
  std::unique_ptr<Generation> generate(std::string_view prompt, const GenerationOptions& options,
                                       std::string_view language = {});
  // Logits of every position from first_position on: calls sink(position, (positions, vocab_size))
  // in order, from another thread, before it returns. interrupt is asked every few milliseconds;
  // true stops. adapter: as in GenerationOptions.
  void logits(std::span<const int32_t> ids,
              const std::function<void(int64_t, std::span<const float>)>& sink,
              const std::function<bool()>& interrupt, const std::string& adapter = {},
              int64_t first_position = 0);

  // With options.record_inputs, and while nothing runs: what every matrix was multiplied with since
  // the pipeline was opened, in the order of loading.
  std::vector<MatrixInputs> recorded_inputs() const;

 private:
  std::unique_ptr<Generation> start(std::vector<int32_t> prompt, const GenerationOptions& options,
                                    const ChatFormat* format);

  struct Impl;
  std::shared_ptr<Impl> impl_;  // running generations share it
};

}  // namespace chatglm
