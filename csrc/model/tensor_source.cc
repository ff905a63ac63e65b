#include "model/tensor_source.h"

#include "base/error.h"

namespace chatglm {

std::optional<TensorView> GgufTensorSource::find(std::string_view name) {
  const TensorView* tensor = file_.find_tensor(name);
  return tensor == nullptr ? std::nullopt : std::optional(*tensor);
}

void GgufTensorSource::will_need(std::string_view name) {
  if (const TensorView* tensor = file_.find_tensor(name)) file_.will_need(*tensor);
}

TensorView GgufTensorSource::fetch(std::string_view name) {
  const TensorView* tensor = file_.find_tensor(name);
  if (tensor == nullptr) {
    throw Error(ErrorKind::kModelFile, "tensor " + std::string(name) + " is missing",
                description());
  }
  return *tensor;
}

}  // namespace chatglm
