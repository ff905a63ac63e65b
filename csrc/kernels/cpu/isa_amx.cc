// x86-64 with AMX tiles of bf16 and int8 (besides AVX-512 with VNNI and BF16). What differs from
// avx512_vnni is products and attention of many rows, by bf16 tiles, and products of a few rows
// with quantized weights, by int8 tiles with the same bits; all on the same packed weights and
// caches. Everything else is that table's. Weights and caches of f32 promise a precision that one
// product of bf16 tiles does not have.
#include "kernels/cpu/body_attention_amx.h"
#include "kernels/cpu/body_few_rows_amx.h"
#include "kernels/cpu/body_linear_amx.h"
#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

// An entry of the other table, which is not known when this one is made.
template <auto kOperation, class Args>
void forward(const Args& args, int64_t begin, int64_t end) {
  (kAvx512VnniKernels.*kOperation)(args, begin, end);
}
template <auto kLoop>
int64_t forward_loop(int64_t iterations) {
  return (kAvx512VnniKernels.*kLoop)(iterations);
}
float forward_read(const float* data, int64_t count, int streams) {
  return kAvx512VnniKernels.peak_read(data, count, streams);
}

template <DType kType, int64_t kRowsOfPanel>
struct ForwardedLinear {
  static const LinearKernel& other() { return kAvx512VnniKernels.linear_kernel(kType); }
  static int64_t panel_bytes(int64_t k) { return other().panel_bytes(k); }
  static void pack(const std::byte* weights, int64_t n, int64_t k, std::byte* packed, int64_t begin,
                   int64_t end) {
    other().pack(weights, n, k, packed, begin, end);
  }
  static int64_t input_row_bytes(int64_t k, int64_t m) { return other().input_row_bytes(k, m); }
  static void prepare_input(const PrepareArgs& args, int64_t begin, int64_t end) {
    other().prepare_input(args, begin, end);
  }
  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    other().product(args, begin, end);
  }
  static int64_t scratch_bytes(int64_t k, int64_t m) { return other().scratch_bytes(k, m); }

  template <class Kernel = ForwardedLinear>
  static constexpr LinearKernel entry() {
    return {kType,
            kRowsOfPanel,
            Kernel::panel_bytes,
            Kernel::pack,
            Kernel::input_row_bytes,
            Kernel::prepare_input,
            Kernel::product,
            Kernel::scratch_bytes};
  }
};

// Up to so many rows, vpdpbusd keeps up with memory, and needs fewer operations around it.
constexpr int64_t kDotRows = 4;

// Up to kDotRows rows as they were, up to kFewRows by int8 tiles.
template <DType kType, int64_t kRowsOfPanel, class Tiled>
struct FewRowsLinear : ForwardedLinear<kType, kRowsOfPanel> {
  using Dots = ForwardedLinear<kType, kRowsOfPanel>;
  static_assert(kFewRows <= Tiled::kMostRows);

  static int64_t input_row_bytes(int64_t k, int64_t m) {
    return m > kDotRows ? Tiled::input_row_bytes(k, m) : Dots::input_row_bytes(k, m);
  }
  static void prepare_input(const PrepareArgs& args, int64_t begin, int64_t end) {
    (args.m > kDotRows ? Tiled::prepare_input : Dots::prepare_input)(args, begin, end);
  }
  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    (args.m > kDotRows ? Tiled::product : Dots::product)(args, begin, end);
  }
  static int64_t scratch_bytes(int64_t, int64_t m) {
    return m > kDotRows ? Tiled::scratch_bytes() : 0;
  }
};

// Many rows by bf16 tiles, few rows as Few has them.
template <class Few, DType kType, int64_t kRowsOfPanel, class Weights>
struct TiledLinear : Few {
  using Many = AmxLinear<Weights>;
  static_assert(kRowsOfPanel == Weights::kPanelTiles * kTileRows);

  static int64_t input_row_bytes(int64_t k, int64_t m) {
    return m > kFewRows ? AmxInput::row_bytes(k) : Few::input_row_bytes(k, m);
  }
  static void prepare_input(const PrepareArgs& args, int64_t begin, int64_t end) {
    (args.m > kFewRows ? AmxInput::prepare : Few::prepare_input)(args, begin, end);
  }
  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    (args.m > kFewRows ? Many::product : Few::product)(args, begin, end);
  }
  static int64_t scratch_bytes(int64_t k, int64_t m) {
    const int64_t few = Few::scratch_bytes(k, m < kFewRows ? m : kFewRows);
    const int64_t many = m > kFewRows ? Many::scratch_bytes(m) : 0;
    return few > many ? few : many;
  }

  static constexpr LinearKernel entry() {
    LinearKernel kernel = Few::template entry<TiledLinear>();
    kernel.rows_before_bf16 = kFewRows;
    return kernel;
  }
};

template <class V>
struct AmxKernels {
  template <DType kType, class Weights>
  static constexpr LinearKernel of_floats() {
    constexpr int64_t kPanelRows = FloatLinear<V, Weights>::kPanelRows;
    if constexpr (kType == DType::kF32) {
      return ForwardedLinear<kType, kPanelRows>::entry();
    } else {
      using Few = ForwardedLinear<kType, kPanelRows>;
      return TiledLinear<Few, kType, kPanelRows, AmxFloatWeights<V, Weights>>::entry();
    }
  }
  template <DType kType, QuantForm kForm, auto kOpen, class Block>
  static constexpr LinearKernel of_quants() {
    using Linear = QuantLinear<V, kForm, kOpen, static_cast<int64_t>(sizeof(Block))>;
    using Few = FewRowsLinear<kType, Linear::kPanelRows, AmxFewRows<V, kForm, Linear>>;
    return TiledLinear<Few, kType, Linear::kPanelRows, AmxQuantWeights<V, kForm, Linear>>::entry();
  }
};

// Two by two tiles, loaded from the first-level cache, as the products do it.
int64_t peak_tiles(int64_t iterations) {
  alignas(64) std::byte operands[4 * kTileBytes] = {};
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = kTileRows;
    config.row_bytes[tile] = kTileRowBytes;
  }
  Tiles::configure(config);
  Tiles::zero<0>();
  Tiles::zero<1>();
  Tiles::zero<2>();
  Tiles::zero<3>();
  for (int64_t i = 0; i < iterations; ++i) {
    Tiles::load<6>(operands);
    Tiles::load<4>(operands + kTileBytes);
    Tiles::multiply<0, 4, 6>();
    Tiles::load<7>(operands + 2 * kTileBytes);
    Tiles::multiply<1, 4, 7>();
    Tiles::load<5>(operands + 3 * kTileBytes);
    Tiles::multiply<2, 5, 6>();
    Tiles::multiply<3, 5, 7>();
  }
  Tiles::release();
  return iterations * 4 * 2 * kTileRows * kTileRows * kTileInputs;
}

// Many rows by tiles, few rows as they were: the rows of the whole batch, as for products, so that
// a row's result depends on which side of kFewRows they are on and on nothing else.
struct TiledAttention {
  static const AttentionKernel& few() { return kAvx512VnniKernels.attention; }
  static bool many(const PagedAttentionArgs& args) {
    return args.rows.rows > kFewRows && args.kv.dtype != DType::kF32;
  }

  static int64_t most_product_rows(const PagedAttentionArgs& args) {
    return many(args) ? kMostTiledRows : few().most_product_rows(args);
  }
  static int64_t scratch_bytes(int64_t head_dim) {
    const int64_t by_few = few().scratch_bytes(head_dim);
    const int64_t by_many = AmxAttention::scratch_bytes(head_dim);
    return by_few > by_many ? by_few : by_many;
  }
  static void attend(const PagedAttentionArgs& args, const AttentionTask& task,
                     std::byte* scratch) {
    if (!many(args)) return few().attend(args, task, scratch);
    AmxAttention::attend(args, task, scratch);
  }
  static void merge(const PagedAttentionArgs& args, const AttentionTask& task, std::byte* scratch) {
    if (!many(args)) return few().merge(args, task, scratch);
    AmxAttention::merge(args, task, scratch);
  }

  static constexpr AttentionKernel entry() {
    return {most_product_rows, scratch_bytes, AmxAttention::partial_bytes, attend, merge, kFewRows};
  }
};

}  // namespace

constinit const KernelTable kAmxKernels = {
    .name = "amx",
    .supported = cpu_has_amx,
    .linear = kLinearKernels<Avx512Vnni, AmxKernels<Avx512Vnni>>,
    .embed = embed_rows,
    .rms_norm = forward<&KernelTable::rms_norm, RmsNormArgs>,
    .layer_norm = forward<&KernelTable::layer_norm, LayerNormArgs>,
    .rope_table = rope_table_rows,
    .rope = forward<&KernelTable::rope, RopeArgs>,
    .kv_store = kv_store_rows,
    .attention = TiledAttention::entry(),
    .silu_mul = forward<&KernelTable::silu_mul, SiluMulArgs>,
    .gelu = forward<&KernelTable::gelu, GeluArgs>,
    .peak_f32 = forward_loop<&KernelTable::peak_f32>,
    .peak_int8 = forward_loop<&KernelTable::peak_int8>,
    .peak_read = forward_read,
    .peak_matrix = peak_tiles};

}  // namespace chatglm::kernels
