// Reference embed: one codec call a row.
#include "kernels/reference/reference.h"

namespace chatglm::kernels::reference {

void embed(const EmbedArgs& args) {
  const DTypeInfo& type = dtype_info(args.dtype);
  for (int64_t row = 0; row < args.rows; ++row) {
    const std::byte* source = args.table + args.row_ids[row] * type.row_bytes(args.cols);
    type.decode(source, args.output + row * args.cols, args.cols);
  }
}

}  // namespace chatglm::kernels::reference
