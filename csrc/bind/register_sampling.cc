// The sampler by itself, for tests: in generations it is the engine that calls it.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bind/register.h"
#include "sampling/sampler.h"

namespace py = pybind11;

namespace chatglm::bind {
namespace {

using Logits = py::array_t<float, py::array::c_style>;

class PySampler {
 public:
  explicit PySampler(SamplingParams params) : sampler_(std::move(params)) {}

  // logits and the result: (vocab_size)
  Logits scores(const Logits& logits, const std::vector<int32_t>& context) {
    const std::vector<float> scores = sampler_.processed_scores(row(logits), context, workspace_);
    return Logits(static_cast<py::ssize_t>(scores.size()), scores.data());
  }

  SampledToken sample(const Logits& logits, const std::vector<int32_t>& context) {
    return sampler_.sample(row(logits), context, workspace_);
  }

 private:
  static std::span<const float> row(const Logits& logits) {
    if (logits.ndim() != 1) {
      throw Error(ErrorKind::kInvalidArgument,
                  "logits must have 1 dimension, found " + std::to_string(logits.ndim()));
    }
    return {logits.data(), static_cast<std::size_t>(logits.size())};
  }

  Sampler sampler_;
  SamplerWorkspace workspace_;
};

}  // namespace

void register_sampling(py::module_& module) {
  const SamplingParams defaults;
  py::class_<SamplingParams>(module, "SamplingParams")
      .def(py::init([](bool do_sample, float temperature, int32_t top_k, double top_p, float min_p,
                       float repetition_penalty, uint64_t seed, int32_t top_logprobs,
                       std::vector<std::vector<int32_t>> bad_words_ids) {
             SamplingParams params{do_sample, temperature,  top_k,
                                   top_p,     min_p,        repetition_penalty,
                                   seed,      top_logprobs, std::move(bad_words_ids)};
             params.validate();
             return params;
           }),
           py::kw_only(), py::arg("do_sample") = defaults.do_sample,
           py::arg("temperature") = defaults.temperature, py::arg("top_k") = defaults.top_k,
           py::arg("top_p") = defaults.top_p, py::arg("min_p") = defaults.min_p,
           py::arg("repetition_penalty") = defaults.repetition_penalty,
           py::arg("seed") = defaults.seed, py::arg("top_logprobs") = defaults.top_logprobs,
           py::arg("bad_words_ids") = defaults.bad_words_ids)
      .def_readonly("do_sample", &SamplingParams::do_sample)
      .def_readonly("temperature", &SamplingParams::temperature)
      .def_readonly("top_k", &SamplingParams::top_k)
      .def_readonly("top_p", &SamplingParams::top_p)
      .def_readonly("min_p", &SamplingParams::min_p)
      .def_readonly("repetition_penalty", &SamplingParams::repetition_penalty)
      .def_readonly("seed", &SamplingParams::seed)
      .def_readonly("top_logprobs", &SamplingParams::top_logprobs)
      .def_readonly("bad_words_ids", &SamplingParams::bad_words_ids);

  py::class_<TokenLogprob>(module, "TokenLogprob")
      .def_readonly("token", &TokenLogprob::token)
      .def_readonly("logprob", &TokenLogprob::logprob);

  py::class_<SampledToken>(module, "SampledToken")
      .def_readonly("token", &SampledToken::token)
      .def_readonly("logprob", &SampledToken::logprob)
      .def_readonly("top_logprobs", &SampledToken::top_logprobs);

  // noconvert: logits of another type would be rounded in silence.
  py::class_<PySampler>(module, "Sampler")
      .def(py::init<SamplingParams>(), py::arg("params"))
      .def("scores", &PySampler::scores, py::arg("logits").noconvert(), py::arg("context"))
      .def("sample", &PySampler::sample, py::arg("logits").noconvert(), py::arg("context"));
}

}  // namespace chatglm::bind
