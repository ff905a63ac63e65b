// chatglm-cli: talk to a model at the command line.
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/answer.h"
#include "cli/args.h"
#include "cli/console.h"
#include "cli/interactive.h"
#include "cli/interrupt.h"
#include "pipeline/demo_model.h"
#include "pipeline/pipeline.h"

namespace chatglm::cli {
namespace {

constexpr int kExitDone = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// A share of the load on one line, for somebody who waits at a terminal.
class ProgressLine {
 public:
  ProgressLine() : enabled_(stderr_is_terminal()) {}
  ~ProgressLine() {
    if (shown_percent_ >= 0) write_note("\r\x1b[K");
  }
  void operator()(double done) {
    constexpr std::chrono::milliseconds kPatience{700};  // a quick load says nothing
    const int percent = static_cast<int>(done * 100);
    if (!enabled_ || percent == shown_percent_ ||
        std::chrono::steady_clock::now() - start_ < kPatience) {
      return;
    }
    shown_percent_ = percent;
    write_note("\rloading: " + std::to_string(percent) + "%");
  }

 private:
  const bool enabled_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int shown_percent_ = -1;
};

std::optional<std::string> text_or_file(const std::optional<std::string>& text,
                                        const std::optional<std::string>& file) {
  return file ? read_text_file(path_from_utf8(*file)) : text;
}

std::optional<std::string> prompt_of(const Args& args) {
  std::optional<std::string> prompt = text_or_file(args.prompt, args.prompt_file);
  if (prompt || args.interactive) return prompt;
  if (!stdin_is_terminal()) prompt = read_standard_input();
  if (!prompt || prompt->empty()) {
    throw Error(ErrorKind::kInvalidArgument,
                "no prompt: give one with -p TEXT or on standard input, or hold a conversation "
                "with -i");
  }
  return prompt;
}

void print_model(const Pipeline& pipeline, const std::filesystem::path& path) {
  const ModelConfig& config = pipeline.config();
  const auto count = [](int64_t number) { return std::to_string(number); };
  char load_time[40];
  std::snprintf(load_time, sizeof load_time, "%.0f ms", pipeline.load_ms());
  write_note(
      "system: " + pipeline.system_info() + "\nmodel: " + path.string() +
      "\nconfig: " + config.architecture + (config.name.empty() ? "" : " (" + config.name + ")") +
      ", hidden_size " + count(config.hidden_size) + ", num_layers " + count(config.num_layers) +
      ", num_heads " + count(config.num_heads) + ", num_kv_heads " + count(config.num_kv_heads) +
      ", ffn_size " + count(config.ffn_size) + ", vocab_size " + count(config.vocab_size) +
      ", max_length " + count(pipeline.max_length()) + "\nload time: " + load_time + "\n\n");
}

std::unique_ptr<Pipeline> load(const Args& args) {
  PipelineOptions options;
  options.device = args.device;
  options.gpu_layers = args.gpu_layers;
  options.num_threads = static_cast<int>(args.num_threads.value_or(0));
  options.kv_dtype = args.kv_dtype;
  options.max_length = args.max_length.value_or(0);
  options.adapters = args.adapters();
  options.speculative = args.speculative;
  options.draft_model = path_from_utf8(args.draft_model);
  const std::filesystem::path path =
      args.model.empty() ? find_demo_model() : path_from_utf8(args.model);
  std::unique_ptr<Pipeline> pipeline;
  {
    ProgressLine progress;
    options.progress = [&progress](double done) { progress(done); };
    pipeline = std::make_unique<Pipeline>(path, options);
  }
  if (args.verbose) print_model(*pipeline, path);
  if (args.chat()) pipeline->required_chat_format("use --mode generate");
  return pipeline;
}

int answer_once(Pipeline& pipeline, const Args& args, const GenerationOptions& options,
                const std::optional<std::string>& system, const std::string& prompt) {
  const InterruptScope scope;
  std::vector<ChatMessage> messages;
  if (system) messages.push_back({"system", *system, "", {}});
  messages.push_back({"user", prompt, "", {}});
  const std::unique_ptr<Generation> generation =
      args.chat() ? pipeline.chat(messages, options)
                  : pipeline.generate(prompt, options, args.language);
  // A running step of a large model takes its time: the process does not wait for its end.
  if (print_answer(*generation, args.sync, args.verbose) == AnswerEnd::kInterrupted) {
    die_of_interrupt();
  }
  return kExitDone;
}

int run(const std::vector<std::string>& arguments) {
  const Args args = parse_args(arguments);
  if (args.help) {
    write_answer(help_text());
    return kExitDone;
  }
  if (args.version) {
    write_answer("chatglm-cli " CHATGLM_VERSION "\n");
    return kExitDone;
  }
  const std::optional<std::string> prompt = prompt_of(args);
  const std::optional<std::string> system = text_or_file(args.system, args.system_file);
  const std::unique_ptr<Pipeline> pipeline = load(args);

  GenerationOptions options;
  options.sampling = args.sampling(pipeline->default_sampling());
  options.max_new_tokens = args.max_new_tokens.value_or(0);
  options.max_context_length = args.max_context_length.value_or(0);
  options.adapter = args.chosen_adapter();
  if (!args.interactive) return answer_once(*pipeline, args, options, system, *prompt);
  hold_conversation(*pipeline, {.chat = args.chat(),
                                .language = args.language,
                                .system = system,
                                .first_prompt = prompt,
                                .generation = options,
                                .sync = args.sync,
                                .verbose = args.verbose});
  return kExitDone;
}

int exit_code_of(const Error& error) {
  return error.kind() == ErrorKind::kInvalidArgument ? kExitUsage : kExitFailed;
}

}  // namespace
}  // namespace chatglm::cli

int main(int argc, char** argv) {
  using namespace chatglm;
  try {
    cli::set_up_console();
    return cli::run(cli::utf8_arguments(argc, argv));
  } catch (const Error& error) {
    const bool usage = error.kind() == ErrorKind::kInvalidArgument;
    cli::write_note("chatglm-cli: " + std::string(error.what()) + "\n" +
                    (usage ? "Try 'chatglm-cli --help'.\n" : ""));
    return cli::exit_code_of(error);
  } catch (const std::bad_alloc&) {
    cli::write_note("chatglm-cli: out of memory\n");
  } catch (const std::exception& error) {
    cli::write_note("chatglm-cli: " + std::string(error.what()) + "\n");
  }
  return cli::kExitFailed;
}
