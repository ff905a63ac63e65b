// A loaded model and its running generations. Everything that waits or works does so without the
// GIL and looks for Ctrl-C.
#include "pipeline/pipeline.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "bind/interrupt.h"
#include "bind/register.h"
#include "pipeline/read_answer.h"

namespace py = pybind11;

namespace chatglm::bind {
namespace {

// Ending a pipeline waits for its engine's thread.
struct DeleteWithoutGil {
  void operator()(Pipeline* pipeline) const {
    const py::gil_scoped_release unlocked;
    delete pipeline;
  }
};
using PipelineHolder = std::unique_ptr<Pipeline, DeleteWithoutGil>;

// The core takes 0 for "not given"; a 0 that somebody gave is a mistake.
int64_t given_or_zero(std::optional<int64_t> value, const char* name) {
  if (value && *value < 1) {
    throw Error(ErrorKind::kInvalidArgument,
                std::string(name) + " is at least 1, found " + std::to_string(*value));
  }
  return value.value_or(0);
}

PipelineHolder open_pipeline(
    const std::filesystem::path& path, const std::string& device, std::optional<int64_t> gpu_layers,
    std::optional<int64_t> num_threads, const std::string& kv_dtype,
    std::optional<int64_t> kv_cache_bytes, std::optional<int64_t> max_length,
    const std::vector<std::pair<std::string, std::filesystem::path>>& adapters,
    const std::string& speculative, const std::optional<std::filesystem::path>& draft_model,
    bool record_inputs) {
  PipelineOptions options;
  options.speculative = speculative;
  options.draft_model = draft_model.value_or(std::filesystem::path());
  options.record_inputs = record_inputs;
  for (const auto& [name, file] : adapters) options.adapters.push_back({name, file});
  options.device = device;
  options.gpu_layers = gpu_layers;
  constexpr int64_t kMostThreads = ThreadPool::kMaxThreads;
  options.num_threads = static_cast<int>(
      std::min(given_or_zero(num_threads, "num_threads"), kMostThreads + 1));  // + 1: refused below
  options.kv_dtype = kv_dtype;
  options.kv_cache_bytes = given_or_zero(kv_cache_bytes, "kv_cache_bytes");
  options.max_length = given_or_zero(max_length, "max_length");
  options.progress = [](double) {
    const py::gil_scoped_acquire locked;
    check_signals();
  };
  const py::gil_scoped_release unlocked;
  return PipelineHolder(new Pipeline(path, options));
}

GenerationOptions make_options(SamplingParams sampling, std::optional<int64_t> max_length,
                               std::optional<int64_t> max_new_tokens,
                               std::optional<int64_t> max_context_length,
                               std::vector<std::string> stop, std::string adapter) {
  GenerationOptions options;
  options.sampling = std::move(sampling);
  options.max_length = given_or_zero(max_length, "max_length");
  options.max_new_tokens = given_or_zero(max_new_tokens, "max_new_tokens");
  options.max_context_length = given_or_zero(max_context_length, "max_context_length");
  options.stop = std::move(stop);
  options.adapter = std::move(adapter);
  return options;
}

const ChatFormat& format_of(const Pipeline& pipeline) {
  return pipeline.required_chat_format("use generate()");
}

// The next piece; nothing where the generation is over.
std::optional<TextDelta> next_delta(Generation& generation) {
  while (!generation.finished()) {
    if (PyErr_CheckSignals() != 0) {
      generation.cancel();
      throw py::error_already_set();
    }
    const py::gil_scoped_release unlocked;
    if (std::optional<TextDelta> delta = generation.next(kSignalInterval)) return delta;
  }
  return std::nullopt;
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kNone:
    case FinishReason::kError:
      break;
  }
  return "error";
}

// The result: (ids, vocab_size).
py::array_t<float> logits(Pipeline& pipeline, const std::vector<int32_t>& ids,
                          const std::string& adapter) {
  const int64_t vocab_size = pipeline.config().vocab_size;
  py::array_t<float> result({static_cast<int64_t>(ids.size()), vocab_size});
  float* const rows = result.mutable_data();
  run_interruptibly([&](const auto& interrupt) {
    pipeline.logits(
        ids,
        [&](int64_t first_position, std::span<const float> part) {
          std::copy(part.begin(), part.end(), rows + first_position * vocab_size);
        },
        interrupt, adapter);
  });
  return result;
}

void register_generation(py::module_& module) {
  py::class_<GenerationOptions>(module, "GenerationOptions")
      .def(py::init(&make_options), py::kw_only(), py::arg("sampling"), py::arg("max_length"),
           py::arg("max_new_tokens"), py::arg("max_context_length"), py::arg("stop"),
           py::arg("adapter"));

  py::class_<TextDelta>(module, "TextDelta")
      .def_readonly("text", &TextDelta::text)
      .def_readonly("thoughts", &TextDelta::thoughts)
      .def_readonly("token_ids", &TextDelta::token_ids)
      .def_readonly("tokens", &TextDelta::tokens);

  py::class_<Generation>(module, "Generation")
      .def("next", &next_delta)
      .def("cancel", &Generation::cancel)
      .def_property_readonly("finished", &Generation::finished)
      .def_property_readonly("finish_reason",
                             [](const Generation& generation) {
                               return finish_reason_name(generation.finish_reason());
                             })
      .def_property_readonly(
          "proposed_tokens",
          [](const Generation& generation) { return generation.timings().proposed_tokens; })
      .def_property_readonly(
          "accepted_tokens",
          [](const Generation& generation) { return generation.timings().accepted_tokens; })
      .def_property_readonly("message", &Generation::message)
      .def_property_readonly("text", &Generation::text);
}

void register_stats(py::module_& module) {
  py::class_<EngineStats>(module, "EngineStats")
      .def_readonly("steps", &EngineStats::steps)
      .def_readonly("prompt_tokens_computed", &EngineStats::prompt_tokens_computed)
      .def_readonly("prompt_tokens_reused", &EngineStats::prompt_tokens_reused)
      .def_readonly("tokens_generated", &EngineStats::tokens_generated)
      .def_readonly("tokens_proposed", &EngineStats::tokens_proposed)
      .def_readonly("tokens_accepted", &EngineStats::tokens_accepted)
      .def_readonly("preemptions", &EngineStats::preemptions)
      .def_readonly("kv_bytes_allocated", &EngineStats::kv_bytes_allocated);
}

void register_config(py::module_& module) {
  py::class_<ModelConfig>(module, "ModelConfig")
      .def_readonly("architecture", &ModelConfig::architecture)
      .def_readonly("name", &ModelConfig::name)
      .def_readonly("vocab_size", &ModelConfig::vocab_size)
      .def_readonly("hidden_size", &ModelConfig::hidden_size)
      .def_readonly("num_layers", &ModelConfig::num_layers)
      .def_readonly("num_heads", &ModelConfig::num_heads)
      .def_readonly("num_kv_heads", &ModelConfig::num_kv_heads)
      .def_readonly("head_dim", &ModelConfig::head_dim)
      .def_readonly("ffn_size", &ModelConfig::ffn_size)
      .def_readonly("max_length", &ModelConfig::max_length);
}

}  // namespace

void register_pipeline(py::module_& module) {
  register_generation(module);
  register_config(module);
  register_stats(module);
  py::class_<Pipeline, PipelineHolder>(module, "Pipeline")
      .def(py::init(&open_pipeline), py::arg("path"), py::kw_only(), py::arg("device"),
           py::arg("gpu_layers"), py::arg("num_threads"), py::arg("kv_dtype"),
           py::arg("kv_cache_bytes"), py::arg("max_length"), py::arg("adapters"),
           py::arg("speculative"), py::arg("draft_model"), py::arg("record_inputs") = false)
      .def_property_readonly("config", &Pipeline::config)
      .def_property_readonly("model_type", &Pipeline::model_type)
      .def_property_readonly("max_length", &Pipeline::max_length)
      .def_property_readonly("tokenizer", &Pipeline::tokenizer,
                             py::return_value_policy::reference_internal)
      .def_property_readonly("default_sampling",
                             [](const Pipeline& pipeline) { return pipeline.default_sampling(); })
      .def_property_readonly("adapters",
                             [](const Pipeline& pipeline) {
                               const std::span<const std::string> names = pipeline.adapters();
                               return std::vector<std::string>(names.begin(), names.end());
                             })
      .def_property_readonly("system_info", &Pipeline::system_info)
      .def_property_readonly("stats", &Pipeline::stats)
      .def_property_readonly("chat_format", &Pipeline::chat_format,
                             py::return_value_policy::reference_internal)
      .def(
          "read_answer",
          [](const Pipeline& pipeline, const std::vector<int32_t>& token_ids,
             const std::string& text) {
            return read_answer(pipeline.tokenizer(), format_of(pipeline), token_ids, text);
          },
          py::arg("token_ids"), py::arg("text"))
      .def(
          "chat",
          [](Pipeline& pipeline, const std::vector<ChatMessage>& messages,
             const GenerationOptions& options) { return pipeline.chat(messages, options); },
          py::arg("messages"), py::arg("options"), py::call_guard<py::gil_scoped_release>())
      .def(
          "generate",
          [](Pipeline& pipeline, const std::string& prompt, const GenerationOptions& options,
             const std::string& language) { return pipeline.generate(prompt, options, language); },
          py::arg("prompt"), py::arg("options"), py::arg("language") = "",
          py::call_guard<py::gil_scoped_release>())
      .def("logits", &logits, py::arg("token_ids"), py::kw_only(), py::arg("adapter") = "");
}

}  // namespace chatglm::bind
