// Stands before the compiler's own immintrin.h: the intrinsics beyond AVX2 that isa_avx_vnni.cc,
// isa_avx512_vnni.cc and isa_amx.cc use, as plain loops, so that its tests run on a CPU with AVX2
// alone. What it lacks does not compile.
#pragma once

#pragma GCC system_header  // include_next is an extension
#include_next <immintrin.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

// The emulated table runs wherever this file's own code does.
#define cpu_has_avx_vnni cpu_has_avx2
#define cpu_has_avx512_vnni cpu_has_avx2
#define cpu_has_amx cpu_has_avx2

namespace emulated {
namespace {

struct alignas(64) Floats {
  float lane[16];
};
struct alignas(64) Integers {
  uint8_t byte[64];
};

template <typename T>
using Lanes = std::array<T, 64 / sizeof(T)>;

template <typename T>
Lanes<T> lanes(const Integers& a) {
  Lanes<T> values;
  std::memcpy(values.data(), a.byte, sizeof(a.byte));
  return values;
}
template <typename T>
Integers integers(const Lanes<T>& values) {
  Integers a;
  std::memcpy(a.byte, values.data(), sizeof(a.byte));
  return a;
}
template <typename T, typename Function>
Integers each(const Integers& a, const Function& function) {
  Lanes<T> values = lanes<T>(a);
  for (T& value : values) value = static_cast<T>(function(value));
  return integers(values);
}
template <typename T, typename Function>
Integers each(const Integers& a, const Integers& b, const Function& function) {
  Lanes<T> values = lanes<T>(a);
  const Lanes<T> others = lanes<T>(b);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<T>(function(values[i], others[i]));
  }
  return integers(values);
}
template <typename Function>
Floats each(Floats a, const Function& function) {
  for (float& value : a.lane) value = function(value);
  return a;
}
template <typename Function>
Floats each(Floats a, const Floats& b, const Function& function) {
  for (int i = 0; i < 16; ++i) a.lane[i] = function(a.lane[i], b.lane[i]);
  return a;
}
template <typename T, typename Vector>
std::array<T, sizeof(Vector) / sizeof(T)> narrow_lanes(Vector a) {
  std::array<T, sizeof(Vector) / sizeof(T)> values;
  std::memcpy(values.data(), &a, sizeof(a));
  return values;
}

Floats set1_ps(float value) {
  return each(Floats{}, [&](float) { return value; });
}
Floats loadu_ps(const void* source) {
  Floats a;
  std::memcpy(a.lane, source, sizeof(a.lane));
  return a;
}
void storeu_ps(void* destination, const Floats& a) {
  std::memcpy(destination, a.lane, sizeof(a.lane));
}
Floats add_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) { return x + y; });
}
Floats sub_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) { return x - y; });
}
Floats mul_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) { return x * y; });
}
Floats div_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) { return x / y; });
}
// The second operand where they are unordered, as the instructions give it.
Floats max_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) { return x > y ? x : y; });
}
Floats min_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) { return x < y ? x : y; });
}
Floats fmadd_ps(Floats a, const Floats& b, const Floats& c) {
  for (int i = 0; i < 16; ++i) a.lane[i] = std::fma(a.lane[i], b.lane[i], c.lane[i]);
  return a;
}
__mmask16 cmp_ps_mask(const Floats& a, const Floats& b, int predicate) {
  unsigned mask = 0;
  for (unsigned i = 0; i < 16; ++i) {
    if (predicate == _CMP_LT_OQ && a.lane[i] < b.lane[i]) mask |= 1U << i;
  }
  return static_cast<__mmask16>(mask);
}
Floats mask_blend_ps(__mmask16 mask, Floats a, const Floats& b) {
  for (unsigned i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) a.lane[i] = b.lane[i];
  }
  return a;
}
Floats roundscale_ps(const Floats& a, int) {
  return each(a, [](float x) { return std::nearbyint(x); });
}
Floats scalef_ps(const Floats& a, const Floats& b) {
  return each(a, b, [](float x, float y) {
    if (std::isnan(x) || std::isnan(y)) return std::numeric_limits<float>::quiet_NaN();
    const float exponent = std::floor(y < -2000 ? -2000.0f : y > 2000 ? 2000.0f : y);
    return static_cast<float>(std::ldexp(double{x}, static_cast<int>(exponent)));
  });
}
// By halves, as the compilers' sequences do.
template <typename Function>
float reduce(Floats a, const Function& function) {
  for (int count = 8; count > 0; count /= 2) {
    for (int i = 0; i < count; ++i) a.lane[i] = function(a.lane[i], a.lane[i + count]);
  }
  return a.lane[0];
}
float reduce_add_ps(const Floats& a) {
  return reduce(a, [](float x, float y) { return x + y; });
}
float reduce_max_ps(const Floats& a) {
  return reduce(a, [](float x, float y) { return x > y ? x : y; });
}

Floats cvtph_ps(__m256i halves) {
  Floats a;
  _mm256_storeu_ps(a.lane, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
  _mm256_storeu_ps(a.lane + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
  return a;
}
Integers cvtepu16_epi32(__m256i narrow) {
  const auto values = narrow_lanes<uint16_t>(narrow);
  Lanes<uint32_t> wide;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = values[i];
  return integers(wide);
}
Integers cvtepi8_epi32(__m128i narrow) {
  const auto values = narrow_lanes<int8_t>(narrow);
  Lanes<int32_t> wide;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = values[i];
  return integers(wide);
}
Floats cvtepi32_ps(const Integers& a) {
  const auto values = lanes<int32_t>(a);
  Floats result;
  for (std::size_t i = 0; i < values.size(); ++i) result.lane[i] = static_cast<float>(values[i]);
  return result;
}
Integers cvtps_epi32(const Floats& a) {
  Lanes<int32_t> values;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = _mm_cvt_ss2si(_mm_set_ss(a.lane[i]));
  return integers(values);
}
__m128i cvtsepi32_epi8(const Integers& a) {
  std::array<int8_t, 16> narrow;
  const auto values = lanes<int32_t>(a);
  for (std::size_t i = 0; i < narrow.size(); ++i) {
    narrow[i] = static_cast<int8_t>(values[i] > 127 ? 127 : values[i] < -128 ? -128 : values[i]);
  }
  __m128i result;
  std::memcpy(&result, narrow.data(), sizeof(result));
  return result;
}
Floats castsi512_ps(const Integers& a) {
  return loadu_ps(a.byte);
}

Integers castps_si512(const Floats& a) {
  Integers result;
  std::memcpy(result.byte, a.lane, sizeof(result.byte));
  return result;
}

Integers load_si512(const void* source) {
  if (reinterpret_cast<std::uintptr_t>(source) % 64 != 0) __builtin_trap();
  Integers a;
  std::memcpy(a.byte, source, sizeof(a.byte));
  return a;
}
void store_si512(void* destination, const Integers& a) {
  if (reinterpret_cast<std::uintptr_t>(destination) % 64 != 0) __builtin_trap();
  std::memcpy(destination, a.byte, sizeof(a.byte));
}
Integers setzero_si512() {
  return {};
}
Integers set1_epi32(int32_t value) {
  return each<int32_t>(Integers{}, [&](int32_t) { return value; });
}
Integers set1_epi8(char value) {
  return each<int8_t>(Integers{}, [&](int8_t) { return value; });
}
// The highest lane first.
template <typename... Values>
Integers set_epi32(Values... values) {
  static_assert(sizeof...(values) == 16);
  const int32_t lane[16] = {values...};
  Lanes<int32_t> result;
  for (std::size_t i = 0; i < 16; ++i) result[i] = lane[15 - i];
  return integers(result);
}
Integers broadcast_i32x4(__m128i a) {
  Integers result;
  for (int i = 0; i < 64; i += 16) std::memcpy(result.byte + i, &a, 16);
  return result;
}
Integers slli_epi32(const Integers& a, unsigned bits) {
  return each<uint32_t>(a, [&](uint32_t x) { return x << bits; });
}
Integers slli_epi16(const Integers& a, unsigned bits) {
  return each<uint16_t>(a, [&](uint16_t x) { return bits < 16 ? x << bits : 0; });
}
Integers srli_epi16(const Integers& a, unsigned bits) {
  return each<uint16_t>(a, [&](uint16_t x) { return bits < 16 ? x >> bits : 0; });
}
Integers and_si512(const Integers& a, const Integers& b) {
  return each<uint32_t>(a, b, [](uint32_t x, uint32_t y) { return x & y; });
}
Integers or_si512(const Integers& a, const Integers& b) {
  return each<uint32_t>(a, b, [](uint32_t x, uint32_t y) { return x | y; });
}
Integers add_epi32(const Integers& a, const Integers& b) {
  return each<uint32_t>(a, b, [](uint32_t x, uint32_t y) { return x + y; });
}
Integers sub_epi8(const Integers& a, const Integers& b) {
  return each<uint8_t>(a, b, [](uint8_t x, uint8_t y) { return x - y; });
}
// Elements of both in turn, in each 16 bytes alone: those of their lower or upper 8.
template <typename T>
Integers unpack(const Integers& a, const Integers& b, int first_byte) {
  constexpr int kBytes = sizeof(T);
  Integers result;
  for (int quarter = 0; quarter < 64; quarter += 16) {
    for (int i = 0; i < 8; i += kBytes) {
      std::memcpy(result.byte + quarter + 2 * i, a.byte + quarter + first_byte + i, kBytes);
      std::memcpy(result.byte + quarter + 2 * i + kBytes, b.byte + quarter + first_byte + i,
                  kBytes);
    }
  }
  return result;
}
Integers unpacklo_epi32(const Integers& a, const Integers& b) {
  return unpack<int32_t>(a, b, 0);
}
Integers unpackhi_epi32(const Integers& a, const Integers& b) {
  return unpack<int32_t>(a, b, 8);
}
Integers unpacklo_epi64(const Integers& a, const Integers& b) {
  return unpack<int64_t>(a, b, 0);
}
Integers unpackhi_epi64(const Integers& a, const Integers& b) {
  return unpack<int64_t>(a, b, 8);
}
// Two quarters of the first, then two of the second.
Integers shuffle_i32x4(const Integers& a, const Integers& b, int places) {
  Integers result;
  for (int i = 0; i < 4; ++i) {
    const Integers& source = i < 2 ? a : b;
    std::memcpy(result.byte + 16 * i, source.byte + 16 * (places >> 2 * i & 3), 16);
  }
  return result;
}
// In each 16 bytes alone; zero where the place has its top bit set.
Integers shuffle_epi8(const Integers& table, const Integers& places) {
  Integers result;
  for (int i = 0; i < 64; ++i) {
    const uint8_t place = places.byte[i];
    result.byte[i] = place < 128 ? table.byte[i / 16 * 16 + place % 16] : 0;
  }
  return result;
}
Floats permutexvar_ps(const Integers& places, const Floats& a) {
  const auto place = lanes<uint32_t>(places);
  Floats result;
  for (std::size_t i = 0; i < 16; ++i) result.lane[i] = a.lane[place[i] % 16];
  return result;
}
Integers permutexvar_epi16(const Integers& places, const Integers& a) {
  const auto place = lanes<uint16_t>(places), words = lanes<uint16_t>(a);
  Lanes<uint16_t> result;
  for (std::size_t i = 0; i < 32; ++i) result[i] = words[place[i] % 32];
  return integers(result);
}
Integers ternarylogic_epi32(const Integers& a, const Integers& b, const Integers& c, int table) {
  Integers result{};
  for (int i = 0; i < 64; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      const int place =
          (a.byte[i] >> bit & 1) << 2 | (b.byte[i] >> bit & 1) << 1 | (c.byte[i] >> bit & 1);
      result.byte[i] = static_cast<uint8_t>(result.byte[i] | (table >> place & 1) << bit);
    }
  }
  return result;
}
__m256i extracti64x4_epi64(const Integers& a, int half) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a.byte + half * 32));
}
__m256i castsi512_si256(const Integers& a) {
  return extracti64x4_epi64(a, 0);
}
// To nearest, ties to even; denormals are zeros; a NaN stays one, and becomes quiet.
uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & 0x7f800000) == 0) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
// The second operand comes first.
Integers cvtne2ps_pbh(const Floats& a, const Floats& b) {
  Lanes<uint16_t> result;
  for (std::size_t i = 0; i < 16; ++i) {
    result[i] = to_bf16(b.lane[i]);
    result[16 + i] = to_bf16(a.lane[i]);
  }
  return integers(result);
}
Integers dpbusd_epi32(const Integers& sums, const Integers& a, const Integers& b) {
  auto values = lanes<int32_t>(sums);
  const auto left = lanes<uint8_t>(a);
  const auto right = lanes<int8_t>(b);
  for (std::size_t i = 0; i < left.size(); ++i) values[i / 4] += left[i] * right[i];
  return integers(values);
}
__m256i dpbusd_avx_epi32(__m256i sums, __m256i a, __m256i b) {
  auto values = narrow_lanes<int32_t>(sums);
  const auto left = narrow_lanes<uint8_t>(a);
  const auto right = narrow_lanes<int8_t>(b);
  for (std::size_t i = 0; i < left.size(); ++i) values[i / 4] += left[i] * right[i];
  std::memcpy(&sums, values.data(), sizeof(sums));
  return sums;
}

}  // namespace
}  // namespace emulated

#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 emulated::dpbusd_avx_epi32
#define __m512 emulated::Floats
#define __m512i emulated::Integers
#undef _mm512_add_epi32
#define _mm512_add_epi32 emulated::add_epi32
#undef _mm512_add_ps
#define _mm512_add_ps emulated::add_ps
#undef _mm512_and_si512
#define _mm512_and_si512 emulated::and_si512
#undef _mm512_broadcast_i32x4
#define _mm512_broadcast_i32x4 emulated::broadcast_i32x4
#undef _mm512_castsi512_ps
#define _mm512_castsi512_ps emulated::castsi512_ps
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask emulated::cmp_ps_mask
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emulated::cvtepi32_ps
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 emulated::cvtepi8_epi32
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 emulated::cvtepu16_epi32
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps emulated::cvtph_ps
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 emulated::cvtps_epi32
#undef _mm512_cvtsepi32_epi8
#define _mm512_cvtsepi32_epi8 emulated::cvtsepi32_epi8
#undef _mm512_div_ps
#define _mm512_div_ps emulated::div_ps
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32 emulated::dpbusd_epi32
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps emulated::fmadd_ps
#undef _mm512_load_si512
#define _mm512_load_si512 emulated::load_si512
#undef _mm512_loadu_ps
#define _mm512_loadu_ps emulated::loadu_ps
#undef _mm512_mask_blend_ps
#define _mm512_mask_blend_ps emulated::mask_blend_ps
#undef _mm512_max_ps
#define _mm512_max_ps emulated::max_ps
#undef _mm512_min_ps
#define _mm512_min_ps emulated::min_ps
#undef _mm512_mul_ps
#define _mm512_mul_ps emulated::mul_ps
#undef _mm512_or_si512
#define _mm512_or_si512 emulated::or_si512
#undef _mm512_reduce_add_ps
#define _mm512_reduce_add_ps emulated::reduce_add_ps
#undef _mm512_reduce_max_ps
#define _mm512_reduce_max_ps emulated::reduce_max_ps
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps emulated::roundscale_ps
#undef _mm512_scalef_ps
#define _mm512_scalef_ps emulated::scalef_ps
#undef _mm512_set1_epi32
#define _mm512_set1_epi32 emulated::set1_epi32
#undef _mm512_set1_epi8
#define _mm512_set1_epi8 emulated::set1_epi8
#undef _mm512_set1_ps
#define _mm512_set1_ps emulated::set1_ps
#undef _mm512_setzero_si512
#define _mm512_setzero_si512 emulated::setzero_si512
#undef _mm512_shuffle_epi8
#define _mm512_shuffle_epi8 emulated::shuffle_epi8
#undef _mm512_slli_epi16
#define _mm512_slli_epi16 emulated::slli_epi16
#undef _mm512_slli_epi32
#define _mm512_slli_epi32 emulated::slli_epi32
#undef _mm512_srli_epi16
#define _mm512_srli_epi16 emulated::srli_epi16
#undef _mm512_store_si512
#define _mm512_store_si512 emulated::store_si512
#undef _mm512_storeu_ps
#define _mm512_storeu_ps emulated::storeu_ps
#undef _mm512_sub_epi8
#define _mm512_sub_epi8 emulated::sub_epi8
#undef _mm512_sub_ps
#define _mm512_sub_ps emulated::sub_ps
#undef _mm512_set_epi32
#define _mm512_set_epi32 emulated::set_epi32
#undef _mm512_permutexvar_ps
#define _mm512_permutexvar_ps emulated::permutexvar_ps
#undef _mm512_permutexvar_epi16
#define _mm512_permutexvar_epi16 emulated::permutexvar_epi16
#undef _mm512_ternarylogic_epi32
#define _mm512_ternarylogic_epi32 emulated::ternarylogic_epi32
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64 emulated::extracti64x4_epi64
#undef _mm512_castsi512_si256
#define _mm512_castsi512_si256 emulated::castsi512_si256
#undef _mm512_cvtne2ps_pbh
#define _mm512_cvtne2ps_pbh emulated::cvtne2ps_pbh
#undef _mm512_castps_si512
#define _mm512_castps_si512 emulated::castps_si512
#undef _mm512_unpacklo_epi32
#define _mm512_unpacklo_epi32 emulated::unpacklo_epi32
#undef _mm512_unpackhi_epi32
#define _mm512_unpackhi_epi32 emulated::unpackhi_epi32
#undef _mm512_unpacklo_epi64
#define _mm512_unpacklo_epi64 emulated::unpacklo_epi64
#undef _mm512_unpackhi_epi64
#define _mm512_unpackhi_epi64 emulated::unpackhi_epi64
#undef _mm512_shuffle_i32x4
#define _mm512_shuffle_i32x4 emulated::shuffle_i32x4
