// A GGUF v2/v3 file, memory-mapped. Everything is parsed and checked once in the constructor
// (counts, lengths, types, names, shapes, alignment, offsets, overlap, file size); what is handed
// out afterwards can be trusted. Knows the container only, no model.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mmap_file.h"
#include "tensor/tensor_view.h"

namespace chatglm {

// All integer types are widened to 64 bits; unsigned values above INT64_MAX are refused.
using GgufValue = std::variant<bool, int64_t, double, std::string, std::vector<bool>,
                               std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  TensorView view;  // into the mapping; rank > 2 is refused unless the leading dimensions are 1
};

class GgufFile {
 public:
  // Throws Error{kModelFile, where = path or "path: tensor/key name"}; Error{kUnsupportedModel} for
  // a tensor type we do not know (the message names it).
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  int64_t size_bytes() const { return static_cast<int64_t>(file_.bytes().size()); }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  std::span<const GgufTensor> tensors() const { return tensors_; }
  const TensorView* find_tensor(std::string_view name) const;  // nullptr: absent

  bool contains(std::string_view key) const { return metadata_.find(key) != metadata_.end(); }

  // T is one of GgufValue's alternatives; an int64_t is accepted where a double is asked for.
  // find: nothing where the key is absent. get: throws Error{kModelFile} naming key and file where
  // it is absent. Both throw where the key holds another type.
  template <typename T>
  std::optional<T> find(std::string_view key) const;
  template <typename T>
  T get(std::string_view key) const;
  // The value itself, without a copy; nullptr where absent. For the long token lists.
  template <typename T>
  const T* find_pointer(std::string_view key) const;

  void will_need(const TensorView& tensor) const { file_.will_need(tensor.bytes()); }
  void release(const TensorView& tensor) const { file_.release(tensor.bytes()); }

 private:
  MmapFile file_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> tensor_index_;
};

}  // namespace chatglm
