// Binds a model's weights by name, type and shape: first everything is declared, then checked as a
// whole (one error names all that does not fit), then loaded into the backend.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/model.h"
#include "model/tensor_source.h"

namespace chatglm {

class WeightBinder {
 public:
  WeightBinder(TensorSource& source, Backend& backend) : source_(source), backend_(backend) {}

  // Each stores the address of `target` until load(). Shapes are (rows, cols).
  void matrix(std::string name, int64_t rows, int64_t cols, std::unique_ptr<Weight>& target);
  void table(std::string name, int64_t rows, int64_t cols, std::unique_ptr<Weight>& target);
  // A vector of `size` numbers, f32 in the backend whatever the file holds.
  void vector(std::string name, int64_t size, std::unique_ptr<Buffer>& target);

  bool has(std::string_view name) { return source_.find(name).has_value(); }

  // Throws Error{kModelFile} listing every missing or wrongly shaped tensor.
  void load(const LoadProgress& progress);

 private:
  enum class Use { kMatrix, kTable, kVector };
  struct Binding {
    Use use;
    std::string name;
    int64_t rows;
    int64_t cols;
    std::unique_ptr<Weight>* weight = nullptr;
    std::unique_ptr<Buffer>* buffer = nullptr;
  };

  int64_t check_all() const;  // bytes to load
  void load_one(const Binding& binding);

  TensorSource& source_;
  Backend& backend_;
  std::vector<Binding> bindings_;
};

}  // namespace chatglm
