// Reads the environment. No other file of the project may call getenv.
#include "base/env.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace chatglm::env {
namespace {

// An empty variable counts as unset, as it does for most shells' scripts.
std::optional<std::string> read(const char* name) {
#ifdef _MSC_VER
#pragma warning(suppress : 4996)  // getenv is safe here: nothing in the library calls setenv
#endif
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

}  // namespace

std::optional<std::string> forced_isa() {
  return read("CHATGLM_ISA");
}

std::optional<int> num_threads() {
  const std::optional<std::string> text = read("CHATGLM_NUM_THREADS");
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < 1) {
    throw Error(ErrorKind::kInvalidArgument,
                "expected a whole number from 1 on, found '" + *text + "'", "CHATGLM_NUM_THREADS");
  }
  return value;
}

std::optional<std::string> demo_model() {
  return read("CHATGLM_DEMO_MODEL");
}

bool allows_wgmma() {
  const std::string text = read("CHATGLM_WGMMA").value_or("1");
  if (text != "0" && text != "1") {
    throw Error(ErrorKind::kInvalidArgument, "expected 0 or 1, found '" + text + "'",
                "CHATGLM_WGMMA");
  }
  return text == "1";
}

}  // namespace chatglm::env
