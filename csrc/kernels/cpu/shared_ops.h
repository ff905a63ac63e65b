// Operations whose cost never shows: one baseline version, in the table of every ISA.
#pragma once

#include "kernels/args.h"

namespace chatglm::kernels {

void embed_rows(const EmbedArgs& args, int64_t begin, int64_t end);
void rope_table_rows(const RopeTableArgs& args, int64_t begin, int64_t end);
void kv_store_rows(const KvStoreArgs& args, int64_t begin, int64_t end);

}  // namespace chatglm::kernels
