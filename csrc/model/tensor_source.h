// Where a model's weights come from: a GGUF file, or numbers made in memory for benchmarks.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "gguf/gguf_file.h"
#include "tensor/tensor_view.h"

namespace chatglm {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual std::string description() const = 0;  // for error messages: the file's path
  // The shape and type of a tensor; nothing where it has none of that name. data is not read.
  virtual std::optional<TensorView> find(std::string_view name) = 0;
  // A tensor that will be fetched soon: a source that reads from a slow place may begin.
  virtual void will_need(std::string_view) {}
  // The tensor with its data, valid until it was released.
  virtual TensorView fetch(std::string_view name) = 0;
  // `part` of a fetched tensor will not be read again. Called by several threads at once.
  virtual void release(const TensorView& part) = 0;
};

class GgufTensorSource final : public TensorSource {
 public:
  explicit GgufTensorSource(const GgufFile& file) : file_(file) {}
  std::string description() const override { return file_.path().string(); }
  std::optional<TensorView> find(std::string_view name) override;
  void will_need(std::string_view name) override;
  TensorView fetch(std::string_view name) override;
  void release(const TensorView& part) override { file_.release(part); }

 private:
  const GgufFile& file_;
};

}  // namespace chatglm
