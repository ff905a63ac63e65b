// Rotation of queries and keys and storing of keys and values: a warp for every head of every row,
// each alone (rope, kv_store) or all in one kernel (rotate_and_store).
#include "kernels/cuda/attention.h"
#include "kernels/cuda/kv_codec.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/rotation.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;

// Rows are the grid's x, of which there may be many.
dim3 blocks(int64_t rows, int64_t heads) {
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>((heads + kWarps - 1) / kWarps));
}

__device__ __forceinline__ int lane_index() {
  return static_cast<int>(threadIdx.x) % 32;
}
__device__ __forceinline__ int warp_index() {
  return static_cast<int>(threadIdx.x) / 32;
}
__device__ __forceinline__ int head_index() {
  return static_cast<int>(blockIdx.y) * kWarps + warp_index();
}

__global__ void __launch_bounds__(kThreads) rope_kernel(RopeArgs args) {
  const int head = head_index();
  if (head >= static_cast<int>(args.heads)) return;
  const int64_t row = blockIdx.x;
  float* const x = args.x + row * args.row_stride + head * args.head_dim;
  rotate_head(args, row, x, x, lane_index());
}

// Heads: those of the keys, then those of the values.
__global__ void __launch_bounds__(kThreads) kv_store_kernel(KvStoreArgs args, KvPlace place) {
  const int index = head_index();
  if (index >= 2 * place.kv_heads) return;
  const int plane = index / place.kv_heads, head = index % place.kv_heads;
  const int64_t row = blockIdx.x;
  const float* const source = (plane == 0 ? args.keys : args.values) + row * args.row_stride +
                              static_cast<int64_t>(head) * place.head_dim;
  encode_head(place.dtype, source, place.head_dim, stored_head(place, row, plane, head),
              lane_index());
}

struct RotatedKeys {
  float of_warp[kWarps][kMaxAttentionHeadDim];
};

// Heads: those of the queries, then of the keys, then of the values.
__global__ void __launch_bounds__(kThreads)
    rotate_and_store_kernel(RopeArgs queries, RopeArgs keys, KvStoreArgs store, KvPlace place) {
  grid_dependency_trigger();
  auto& shared = shared_memory<RotatedKeys>();
  const int lane = lane_index(), head = head_index();
  const int query_heads = static_cast<int>(queries.heads);
  const int64_t row = blockIdx.x;
  grid_dependency_wait();
  if (head < query_heads) {
    float* const x = queries.x + row * queries.row_stride + head * queries.head_dim;
    rotate_head(queries, row, x, x, lane);
    return;
  }
  const int kv_head = (head - query_heads) % place.kv_heads;
  const int64_t source = row * store.row_stride + static_cast<int64_t>(kv_head) * place.head_dim;
  if (head < query_heads + place.kv_heads) {
    float* const rotated = shared.of_warp[warp_index()];
    rotate_head(keys, row, store.keys + source, rotated, lane);
    __syncwarp();
    encode_head(place.dtype, rotated, place.head_dim, stored_head(place, row, 0, kv_head), lane);
  } else if (head < query_heads + 2 * place.kv_heads) {
    encode_head(place.dtype, store.values + source, place.head_dim,
                stored_head(place, row, 1, kv_head), lane);
  }
}

}  // namespace

void rope(const RopeArgs& args, Stream stream) {
  if (args.rows == 0) return;
  launch(rope_kernel, blocks(args.rows, args.heads), kThreads, 0, stream, args);
}

void kv_store(const KvStoreArgs& args, Stream stream) {
  if (args.rows.rows == 0) return;
  launch(kv_store_kernel, blocks(args.rows.rows, 2 * args.kv.kv_heads), kThreads, 0, stream, args,
         kv_place(args));
}

void rotate_and_store(const RotateAndStoreArgs& args, Stream stream, bool early) {
  const int64_t rows = args.store.rows.rows;
  if (rows == 0) return;
  launch_early(early, rotate_and_store_kernel,
               blocks(rows, args.queries.heads + 2 * args.store.kv.kv_heads), kThreads,
               sizeof(RotatedKeys), stream, args.queries, args.keys, args.store,
               kv_place(args.store));
}

}  // namespace chatglm::kernels::cuda
