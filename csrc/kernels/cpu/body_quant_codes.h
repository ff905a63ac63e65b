// The codes of quantized weights as the kernels keep them, and their integer dot products with
// quantized inputs.
//
// A block is 32 codes of each of kLanes weight rows, in planes: a code of 6 bits has a plane of its
// low 4 bits, then one of its high 2; 5 bits are 4 + 1, 3 are 2 + 1; 8 bits stand alone. In a plane
// of w bits each row has 4 w bytes, and code i lies in byte i % (4 w), from bit i / (4 w) * w on.
// Bytes are stored as (bytes / kGroup, kLanes, kGroup): kGroup consecutive bytes of each row, so
// that a vector of integer sums has one lane for each row and there is no horizontal sum.
//
// V offers besides
//   kGroup                       1 or 4
//   Bytes                        kLanes * kGroup codes
//   load_bytes(source)           aligned to the vector
//   store_bytes(destination, a)  the same
//   field(a, from, to, bits)     the bits [from, from + bits) of every byte, moved to `to`
//   merge(a, b)                  or
//   lookup(a)                    the bytes of kCodeTable at places 0..15, xor kByteFlip
//   Ints                         kLanes integers, or what adds up to them
//   ints(value) to_f32(a)
//   CodeDot<kLargest>, ByteDot   how products of codes 0..kLargest, or of signed bytes, are summed:
//     Partial, begin(sums)       what products are added to: nothing yet, in as few bits as will
//                                do, or the Ints `sums`
//     add(partial, codes, x)     + the products with the kGroup inputs at x
//     kVectors                   how many of those a Partial can hold, a power of two
//     end(sums, partial)         `sums`, and the products added since begin(sums)
//   kByteFlip kByteOffset        what ByteDot wants signed bytes to be xor-ed with, and how much
//                                larger they are then: 0x80 and 128 are unsigned numbers
#pragma once

#include <bit>
#include <type_traits>

#include "kernels/cpu/body_common.h"
#include "tensor/quant_form.h"

namespace chatglm::kernels {

inline constexpr int kLargestInput = 127;  // magnitude of a quantized input

// kCodeTable for V's lookup: a copy in every ISA's own file, like all they use.
struct CodeTable {
  int8_t values[16] = {};
  consteval explicit CodeTable(int flip) {
    for (int i = 0; i < 16; ++i) values[i] = static_cast<int8_t>(kCodeTable[i] ^ flip);
  }
};
template <class V>
constexpr CodeTable kLookupTable{V::kByteFlip};

template <class V, QuantForm kForm>
struct QuantCodes {
  static constexpr int kBits = kForm.bits;
  static constexpr int64_t kBlock = 32;
  static constexpr int64_t kRowBytes = 4 * kBits;  // of a block
  static constexpr int64_t kBlockBytes = V::kLanes * kRowBytes;
  static constexpr bool kSignedBytes = kBits == 8 || kForm.table;
  // The codes are this much larger than what they stand for.
  static constexpr int kOffset = kSignedBytes ? V::kByteOffset : kForm.offset;
  static constexpr bool kOnePlane = !kForm.table && (kBits == 8 || kBits == 4 || kBits == 2);

  // Codes of one row (32) to their place in a block.
  static void pack(const uint8_t* codes, int64_t row, uint8_t* block) {
    if constexpr (kBits == 8) {
      place(codes, row, block);
    } else {
      uint8_t planes[kRowBytes];
      pack_plane<kFirstPlane, 0>(codes, planes);
      if constexpr (kBits == 6) pack_plane<2, 4>(codes, planes);
      if constexpr (kBits % 2 == 1) pack_plane<1, kBits - 1>(codes, planes);
      place(planes, row, block);
    }
  }

  // The same of one row's planes.
  static void place(const uint8_t* planes, int64_t row, uint8_t* block) {
    constexpr uint32_t kFlip = kBits == 8 ? V::kByteFlip * 0x01010101U : 0;
    block += row * V::kGroup;
    CHATGLM_UNROLL
    for (int64_t i = 0; i < kRowBytes; i += 4) {  // four bytes at a time
      uint32_t four;
      std::memcpy(&four, planes + i, sizeof(four));
      four ^= kFlip;
      if constexpr (V::kGroup == 4) {
        std::memcpy(block + i * V::kLanes, &four, sizeof(four));
      } else {
        static_assert(V::kGroup == 1);
        uint8_t bytes[4];
        std::memcpy(bytes, &four, sizeof(four));
        for (int64_t j = 0; j < 4; ++j) block[(i + j) * V::kLanes] = bytes[j];
      }
    }
  }

  // One part (kForm.part codes) of a block times the same inputs of kRows rows, plus their
  // corrections, which take off what kOffset is too much.
  template <int kRows, class Reader>
  static void dot(const uint8_t* block, int part, const Reader& x, typename V::F32* dots) {
    typename V::Ints sums[kRows];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      int32_t correction = 0;
      if constexpr (kOffset != 0) correction = x.template correction<int32_t>(r, part);
      sums[r] = V::ints(correction);
    }
    CHATGLM_UNROLL
    for (int start = 0; start < kPartVectors; start += kChunk) {
      typename Dot::Partial partial[kRows];
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) partial[r] = Dot::begin(sums[r]);
      CHATGLM_UNROLL
      for (int j = start; j < start + kChunk; ++j) {
        const int vector = part * kPartVectors + j;
        const typename V::Bytes codes = load(block, vector);
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          partial[r] = Dot::add(partial[r], codes, x.quants(r, vector));
        }
      }
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) sums[r] = Dot::end(sums[r], partial[r]);
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) dots[r] = V::to_f32(sums[r]);
  }

  // A block's codes as whole bytes: (32 / kGroup, kLanes, kGroup).
  static void open(const uint8_t* block, uint8_t* opened) {
    CHATGLM_UNROLL
    for (int j = 0; j < kBlock / V::kGroup; ++j) {
      V::store_bytes(opened + j * kVectorBytes, load(block, j));
    }
  }
  // Sums products of such bytes. Codes of 4 bits or fewer share one way.
  using OpenDot =
      std::conditional_t<kSignedBytes, typename V::ByteDot,
                         typename V::template CodeDot<(1 << (kBits < 4 ? 4 : kBits % 8)) - 1>>;

  // Vector j of a block: codes [j * kGroup, (j + 1) * kGroup) of every row, a byte each.
  static typename V::Bytes bytes(const uint8_t* block, int j) { return load(block, j); }

 private:
  static constexpr int kFirstPlane = kBits >= 4 ? 4 : 2;  // bits; unless there are 8
  static constexpr int64_t kVectorBytes = V::kLanes * V::kGroup;
  static constexpr int kPartVectors = static_cast<int>(kForm.part / V::kGroup);
  using Dot = std::conditional_t<kSignedBytes, typename V::ByteDot,
                                 typename V::template CodeDot<(1 << kBits % 8) - 1>>;
  static constexpr int kChunk = Dot::kVectors < kPartVectors ? Dot::kVectors : kPartVectors;
  static_assert(kPartVectors % kChunk == 0);

  template <int kWidth, int kTo>
  static void pack_plane(const uint8_t* codes, uint8_t* planes) {
    constexpr int kBytes = 4 * kWidth;
    constexpr uint32_t kMask = ((1U << kWidth) - 1) * 0x01010101U;
    for (int j = 0; j < kBytes; j += 4) {  // four bytes at a time
      uint32_t bytes = 0;
      CHATGLM_UNROLL
      for (int f = 0; f < 8 / kWidth; ++f) {
        uint32_t four;
        std::memcpy(&four, codes + f * kBytes + j, sizeof(four));
        bytes |= (four >> kTo & kMask) << f * kWidth;
      }
      std::memcpy(planes + 4 * kTo + j, &bytes, sizeof(bytes));
    }
  }

  // Vector j of a block: codes [j * kGroup, (j + 1) * kGroup) of every row.
  static typename V::Bytes load(const uint8_t* block, int j) {
    if constexpr (kBits == 8) {
      return V::load_bytes(block + j * kVectorBytes);
    } else {
      auto codes = load_plane<kFirstPlane, 0>(block, j);
      if constexpr (kBits == 6) codes = V::merge(codes, load_plane<2, 4>(block, j));
      if constexpr (kBits % 2 == 1) codes = V::merge(codes, load_plane<1, kBits - 1>(block, j));
      if constexpr (kForm.table) codes = V::lookup(codes);
      return codes;
    }
  }
  template <int kWidth, int kTo>
  static typename V::Bytes load_plane(const uint8_t* block, int j) {
    constexpr int kVectors = static_cast<int>(4 * kWidth / V::kGroup);
    const uint8_t* source = block + 4 * kTo * V::kLanes + j % kVectors * kVectorBytes;
    return V::field(V::load_bytes(source), j / kVectors * kWidth, kTo, kWidth);
  }
};

}  // namespace chatglm::kernels
