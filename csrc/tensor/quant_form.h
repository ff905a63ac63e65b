// What the blocks of all quantized types have in common: a block, however its bytes are laid out,
// says
//   value[i] = scale * scales[i / part] * (codes[i] - offset) + minimum * minimums[i / part]
// A type describes itself by a QuantForm and opens its blocks into an OpenBlock (open_<type>);
// decoding and the kernels' packing are written once over these. Knows no layout.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"

namespace chatglm {

inline constexpr int64_t kMaxBlockElements = 256;
inline constexpr int64_t kMaxBlockParts = 16;

struct OpenBlock {
  Half scale;
  Half minimum;
  int8_t scales[kMaxBlockParts];    // of the parts, where the form has them
  int8_t minimums[kMaxBlockParts];  // of the parts, where the form has them
  uint8_t codes[kMaxBlockElements];
};

struct QuantForm {
  int64_t block;          // elements of a block: a multiple of 32
  int64_t part;           // elements that share an integer scale and minimum: 16 or 32
  int bits;               // of a code: 2 to 6, unsigned; or 8, signed
  int offset = 0;         // see above
  bool table = false;     // 4-bit codes are places in kCodeTable
  bool scales = false;    // the parts have integer scales (else 1)
  bool minimum = false;   // there is a minimum (else 0)
  bool minimums = false;  // the parts have integer minimums (else 1)
  // Stored as the scale, the minimum where there is one, and the codes: bytes, or half bytes of
  // which the high ones are the second half of the codes.
  bool direct = false;
};

// K-quants store what is taken off.
constexpr Half negated(Half value) {
  return static_cast<Half>(value ^ 0x8000);
}

// The values of the 4-bit codes of IQ4_NL and IQ4_XS: denser around zero.
inline constexpr int8_t kCodeTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace chatglm
