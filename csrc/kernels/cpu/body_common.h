// What the kernel bodies share. A body is a set of function templates over V, the vector type of
// one ISA, which lives in an anonymous namespace of its isa_<name>.cc: so every instantiation is
// local to that file and no code for a newer CPU can leak into the rest of the program. For the
// same reason bodies call no inline function of any other header.
//
// V offers
//   kLanes                        floats in a vector, 16 at most
//   F32                           the vector
//   set load store add sub mul div fma(a, b, c) = a * b + c, min max (NaN if the second one is)
//   round                         to the nearest integer, ties to even
//   scale_pow2(x, n)              x * 2^n, n integral in [-252, 254]
//   reduce_add reduce_max         of the lanes
//   load_f16 load_bf16 load_i8    kLanes stored values, decoded
// and what body_linear_float.h, body_linear_quant.h and body_attention_tile.h name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/args.h"

#if defined(__clang__)
#define CHATGLM_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define CHATGLM_UNROLL _Pragma("GCC unroll 16")
#else
#define CHATGLM_UNROLL
#endif

// Asks for a cache line that will be read soon, in the second-level cache.
#if defined(__GNUC__) || defined(__clang__)
#define CHATGLM_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#else
#define CHATGLM_PREFETCH(address) static_cast<void>(address)
#endif

namespace chatglm::kernels {

template <class V>
int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// For a walk through one panel, which has come to these `bytes`: asks for those some way ahead. A
// single stream between much arithmetic keeps memory less busy than it could be. (Four streams do
// well without.) The distance is by measurement: 1 to 4 KiB do about as well.
template <class V>
void prefetch_ahead(const void* place, int64_t bytes) {
  constexpr int64_t kDistance = 2048;
  const char* ahead = static_cast<const char*>(place) + kDistance;
  CHATGLM_UNROLL
  for (int64_t at = 0; at < bytes; at += 64) CHATGLM_PREFETCH(ahead + at);
}

// Calls function.operator()<kRows>() with kRows = rows, but kMost at most.
template <int kMost, class Function>
void rows_of_tile(int64_t rows, const Function& function) {
  if constexpr (kMost > 1) {
    if (rows < kMost) return rows_of_tile<kMost - 1>(rows, function);
  }
  function.template operator()<kMost>();
}

// e^x, relative error below 2e-7; 0 below -104, infinity above 88.8, NaN for NaN.
template <class V>
typename V::F32 vector_exp(typename V::F32 x) {
  x = V::max(V::set(-110.0F), V::min(V::set(90.0F), x));
  const auto n = V::round(V::mul(x, V::set(1.44269504F)));
  // ln 2 in two parts: n * 0.693359375 is exact.
  auto r = V::fma(n, V::set(-0.693359375F), x);
  r = V::fma(n, V::set(2.12194440e-4F), r);
  // (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, least maximal error of e^r (Lawson's iteration).
  auto p = V::set(0x1.9f05bap-13F);
  p = V::fma(p, r, V::set(0x1.6d90a6p-10F));
  p = V::fma(p, r, V::set(0x1.111278p-7F));
  p = V::fma(p, r, V::set(0x1.55548ap-5F));
  p = V::fma(p, r, V::set(0x1.555554p-3F));
  p = V::fma(p, r, V::set(0.5F));
  const auto e = V::add(V::fma(V::mul(r, r), p, r), V::set(1.0F));
  return V::scale_pow2(e, n);
}

// The first `count` floats of a vector, the others 0.
template <class V>
typename V::F32 load_part(const float* source, int64_t count) {
  float lanes[V::kLanes] = {};
  std::memcpy(lanes, source, static_cast<std::size_t>(count) * sizeof(float));
  return V::load(lanes);
}

template <class V>
void store_part(float* destination, typename V::F32 value, int64_t count) {
  float lanes[V::kLanes];
  V::store(lanes, value);
  std::memcpy(destination, lanes, static_cast<std::size_t>(count) * sizeof(float));
}

// As much of a vector as there is, `count` or kLanes of it.
template <class V>
typename V::F32 load_some(const float* source, int64_t count) {
  return count >= V::kLanes ? V::load(source) : load_part<V>(source, count);
}

template <class V>
void store_some(float* destination, typename V::F32 value, int64_t count) {
  if (count >= V::kLanes) {
    V::store(destination, value);
  } else {
    store_part<V>(destination, value, count);
  }
}

// Writes kLanes finished sums of one row of a product, beginning at output `column` (the last
// panel's padding may lie beyond n).
template <class V>
void finish_outputs(const LinearArgs& args, int64_t row, int64_t column, typename V::F32 sums) {
  const int64_t count = args.n - column;
  float* y = args.y + row * args.y_stride + column;
  if (count >= V::kLanes) {
    if (args.bias != nullptr) sums = V::add(sums, V::load(args.bias + column));
    if (args.accumulate) sums = V::add(sums, V::load(y));
    V::store(y, sums);
  } else if (count > 0) {
    if (args.bias != nullptr) sums = V::add(sums, load_part<V>(args.bias + column, count));
    if (args.accumulate) sums = V::add(sums, load_part<V>(y, count));
    store_part<V>(y, sums, count);
  }
}

}  // namespace chatglm::kernels
