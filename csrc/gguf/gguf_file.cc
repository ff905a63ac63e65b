// Opens a GGUF file and looks things up in it.
#include "gguf/gguf_file.h"

#include <array>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "gguf/gguf_parser.h"

namespace chatglm {
namespace {

// In the order of GgufValue's alternatives.
constexpr std::array<std::string_view, std::variant_size_v<GgufValue>> kTypeNames{
    "a boolean",          "a whole number",          "a number",          "a string",
    "a list of booleans", "a list of whole numbers", "a list of numbers", "a list of strings"};

template <typename T>
std::string_view type_name() {
  return kTypeNames[GgufValue(T{}).index()];
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  GgufContent content = parse_gguf(file_.bytes(), display_name(path));
  metadata_ = std::move(content.metadata);
  tensors_ = std::move(content.tensors);
  for (std::size_t i = 0; i < tensors_.size(); ++i) tensor_index_.emplace(tensors_[i].name, i);
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second].view;
}

template <typename T>
const T* GgufFile::find_pointer(std::string_view key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) return nullptr;
  if (const T* value = std::get_if<T>(&found->second)) return value;
  throw Error(ErrorKind::kModelFile,
              "expected " + std::string(type_name<T>()) + ", found " +
                  std::string(kTypeNames[found->second.index()]),
              display_name(path()) + ": " + std::string(key));
}

template <typename T>
std::optional<T> GgufFile::find(std::string_view key) const {
  if constexpr (std::is_same_v<T, double>) {
    const auto found = metadata_.find(key);
    if (found != metadata_.end()) {
      if (const int64_t* whole = std::get_if<int64_t>(&found->second)) {
        return static_cast<double>(*whole);
      }
    }
  }
  const T* value = find_pointer<T>(key);
  return value == nullptr ? std::nullopt : std::optional<T>(*value);
}

template <typename T>
T GgufFile::get(std::string_view key) const {
  std::optional<T> value = find<T>(key);
  if (!value) {
    throw Error(ErrorKind::kModelFile,
                "expected " + std::string(type_name<T>()) + " under this metadata key, found none",
                display_name(path()) + ": " + std::string(key));
  }
  return *std::move(value);
}

#define CHATGLM_INSTANTIATE(T)                                         \
  template std::optional<T> GgufFile::find<T>(std::string_view) const; \
  template T GgufFile::get<T>(std::string_view) const;                 \
  template const T* GgufFile::find_pointer<T>(std::string_view) const;
CHATGLM_INSTANTIATE(bool)
CHATGLM_INSTANTIATE(int64_t)
CHATGLM_INSTANTIATE(double)
CHATGLM_INSTANTIATE(std::string)
CHATGLM_INSTANTIATE(std::vector<bool>)
CHATGLM_INSTANTIATE(std::vector<int64_t>)
CHATGLM_INSTANTIATE(std::vector<double>)
CHATGLM_INSTANTIATE(std::vector<std::string>)
#undef CHATGLM_INSTANTIATE

}  // namespace chatglm
