// See placement.h.
#include "kv/placement.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace chatglm {

Placement::Placement(Backend& backend) : any_number_(true), parts_{{&backend, 0, 0}} {}

Placement::Placement(std::vector<PlacedLayers> parts)
    : any_number_(false), parts_(std::move(parts)) {
  int64_t end = 0;
  for (const PlacedLayers& part : parts_) {
    if (part.begin != end || part.end <= part.begin || part.backend == nullptr) {
      throw Error(ErrorKind::kInvalidArgument, "layers are placed in order, expected some from " +
                                                   std::to_string(end) + " on, found " +
                                                   std::to_string(part.begin) + " to " +
                                                   std::to_string(part.end));
    }
    end = part.end;
  }
  if (parts_.empty()) {
    throw Error(ErrorKind::kInvalidArgument, "layers must be placed somewhere, found no backend");
  }
}

std::vector<PlacedLayers> Placement::of(int64_t num_layers) const {
  std::vector<PlacedLayers> parts = parts_;
  if (any_number_) parts.back().end = num_layers;
  if (parts.back().end != num_layers) {
    throw Error(ErrorKind::kInvalidArgument, "expected a place for " + std::to_string(num_layers) +
                                                 " layers, found one for " +
                                                 std::to_string(parts.back().end));
  }
  return parts;
}

}  // namespace chatglm
