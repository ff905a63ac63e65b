// Which backend has which layers of a model, and their part of the cache. One backend has all of
// them, mostly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace chatglm {

struct PlacedLayers {
  Backend* backend;
  int64_t begin;
  int64_t end;

  int64_t count() const { return end - begin; }
};

// What one page of the cache takes of a backend's memory.
struct PageShare {
  const Backend* backend;
  int64_t bytes;
};

class Placement {
 public:
  // Implicit: all layers of any model on one backend is the usual case.
  Placement(Backend& backend);  // NOLINT(google-explicit-constructor)
  // Consecutive ranges from 0 on. The backends outlive what is placed on them.
  // Throws Error{kInvalidArgument} where they leave a gap, overlap, or hold nothing.
  explicit Placement(std::vector<PlacedLayers> parts);

  std::size_t num_parts() const { return parts_.size(); }
  Backend& last_backend() const { return *parts_.back().backend; }  // has the logits
  // The parts of a model of `num_layers` layers.
  // Throws Error{kInvalidArgument} where they are made for another number.
  std::vector<PlacedLayers> of(int64_t num_layers) const;

 private:
  bool any_number_;
  std::vector<PlacedLayers> parts_;
};

}  // namespace chatglm
