// How much memory the KV cache may take where nobody said so. Asks the operating system or the
// device; knows no model.
#pragma once

#include <cstdint>
#include <span>

#include "kv/placement.h"

namespace chatglm {

// Bytes that this process could still take without making the machine swap or the container be
// killed. Where the system does not tell: a cautious guess.
int64_t available_memory_bytes();
// The same of the memory that the backend takes.
int64_t available_memory_bytes(const Backend& backend);

// Of the host's memory, which other programs want too: room for one sequence of max_length tokens
// (and for a few short ones where that is little), but at most half of `available_bytes`; yet
// always enough for a conversation of reasonable length.
int64_t default_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                                int64_t available_bytes);
// Of a device's own memory: room for 64 sequences of max_length tokens, but at most three quarters
// of what is free, which leaves room for activations; and as much as on the host at least.
int64_t device_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                               int64_t free_bytes);
// Whichever of the two is the backend's.
int64_t default_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                                const Backend& backend);
// Pages, of which each takes these shares: as many as the backend with the least room holds.
int64_t default_kv_pages(std::span<const PageShare> shares, int64_t page_tokens,
                         int64_t max_length);

}  // namespace chatglm
