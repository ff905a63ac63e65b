// How much memory the KV cache may take where nobody said so. Asks the operating system; knows no
// model.
#pragma once

#include <cstdint>

namespace chatglm {

// Bytes that this process could still take without making the machine swap or the container be
// killed. Where the system does not tell: a cautious guess.
int64_t available_memory_bytes();

// Room for one sequence of max_length tokens (and for a few short ones where that is little), but
// at most half of `available_bytes`; yet always enough for a conversation of reasonable length.
int64_t default_kv_budget_bytes(int64_t page_bytes, int64_t page_tokens, int64_t max_length,
                                int64_t available_bytes);

}  // namespace chatglm
