// A trained prefix (P-Tuning v2): keys and values in a model's file that stand before every
// sequence. Knows the tensors' names and the cache, no architecture.
#pragma once

#include <cstdint>
#include <span>

#include "kv/placement.h"
#include "model/config.h"
#include "model/tensor_source.h"

namespace chatglm {

// Writes the prefix's keys and values into slots [0, config.prefix_length) of the pages.
// Throws Error{kModelFile} listing every tensor of it that is missing or has another shape.
void store_prefix(const ModelConfig& config, TensorSource& source, const Placement& placement,
                  std::span<const kernels::PagedKvView> kv, std::span<const int32_t> pages);

}  // namespace chatglm
