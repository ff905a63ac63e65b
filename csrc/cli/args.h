// The command line of chatglm-cli: what it may hold and what it means. Opens no file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/pipeline.h"
#include "sampling/params.h"

namespace chatglm::cli {

struct Args {
  std::string model;  // empty: the bundled demo model
  std::optional<std::string> prompt;
  std::optional<std::string> prompt_file;
  std::optional<std::string> system;
  std::optional<std::string> system_file;
  bool interactive = false;
  std::string mode = "chat";  // or "generate"
  std::string language;       // of the program that CodeGeeX2 is to write; empty: none
  bool sync = false;
  std::vector<std::string> lora;       // "NAME=FILE", or "FILE" of the name it has without .gguf
  std::optional<std::string> adapter;  // a NAME of lora; nothing: the only one there is

  std::optional<int64_t> max_length;          // nothing: the model's
  std::optional<int64_t> max_new_tokens;      // nothing: what max_length leaves
  std::optional<int64_t> max_context_length;  // nothing: max_length
  // Nothing: what the model recommends.
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> temperature;  // 0: greedy
  std::optional<double> repetition_penalty;
  std::optional<int64_t> seed;  // nothing: another one each time

  std::optional<int64_t> num_threads;  // nothing: one for each performance core
  std::string device = "auto";
  std::optional<int64_t> gpu_layers;
  std::string kv_dtype = "f16";
  std::string speculative = "auto";
  std::string draft_model;  // empty: none
  bool verbose = false;
  bool help = false;
  bool version = false;

  bool chat() const { return mode == "chat"; }
  std::vector<NamedAdapter> adapters() const;
  // The name of the adapter that answers; empty: none.
  std::string chosen_adapter() const;
  // What the model recommends, with what was given on the command line put over it.
  SamplingParams sampling(const SamplingParams& recommended) const;
};

// arguments: without the program's name. Throws Error{kInvalidArgument} for everything that is
// wrong.
Args parse_args(const std::vector<std::string>& arguments);

// The text of -h.
std::string help_text();

}  // namespace chatglm::cli
