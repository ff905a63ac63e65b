// Binds a model's weights by name, type and shape: first everything is declared, then checked as a
// whole (one error names all that does not fit), then loaded into the backend.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "model/model.h"
#include "model/projection.h"
#include "model/tensor_source.h"

namespace chatglm {

// A tensor of the file: `rows` rows of a matrix, or elements of a vector.
struct TensorPart {
  std::string name;
  int64_t rows;
};

class WeightBinder {
 public:
  WeightBinder(TensorSource& source, Backend& backend) : source_(source), backend_(backend) {}

  // Each stores the address of `target` until load(). Shapes are (rows, cols).
  void matrix(std::string name, int64_t rows, int64_t cols, std::unique_ptr<Weight>& target);
  void table(std::string name, int64_t rows, int64_t cols, std::unique_ptr<Weight>& target);
  // A vector of `size` numbers, f32 in the backend whatever the file holds.
  void vector(std::string name, int64_t size, std::unique_ptr<Buffer>& target);
  // Matrices one below the other. Neighbours of one storage type become one matrix.
  void projection(std::vector<TensorPart> parts, int64_t cols, Projection& target);
  // Vectors one after the other.
  void bias(std::vector<TensorPart> parts, Projection& target);

  // What is optional is asked for with this, and bound where it is there.
  bool has(std::string_view name) { return source_.find(name).has_value(); }

  // Throws Error{kModelFile} listing every missing or wrongly shaped tensor.
  void load(const LoadProgress& progress);

 private:
  enum class Use { kMatrix, kTable, kVector, kProjection };
  struct Binding {
    Use use;
    std::vector<TensorPart> parts;
    int64_t cols;  // of a matrix; a vector is one row
    std::unique_ptr<Weight>* weight = nullptr;
    std::unique_ptr<Buffer>* buffer = nullptr;
    Projection* projection = nullptr;
  };

  int64_t check_all() const;  // bytes to load
  void load_one(const Binding& binding);
  int64_t size_of(const Binding& binding) const;
  void load_vector(const Binding& binding);
  void load_projection(const Binding& binding);

  TensorSource& source_;
  Backend& backend_;
  std::vector<Binding> bindings_;
};

}  // namespace chatglm
