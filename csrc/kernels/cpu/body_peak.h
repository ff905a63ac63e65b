// What this machine can do at most, for the benchmark to hold the products against: loops that only
// multiply and add, on registers and a little of the first-level cache, and loops that only read.
//
// V offers besides: kPeakChains: independent sums of floats that hide the latency of a multiply-add
// and still fit in the registers; a multiple of 3.
#pragma once

#include "kernels/cpu/body_quant_codes.h"

namespace chatglm::kernels {

template <class V>
int64_t peak_f32(int64_t iterations) {
  constexpr int kChains = V::kPeakChains;
  typename V::F32 sums[kChains];
  CHATGLM_UNROLL
  for (int c = 0; c < kChains; ++c) sums[c] = V::set(static_cast<float>(c));
  const auto factor = V::set(0.999F), term = V::set(1e-3F);
  for (int64_t i = 0; i < iterations; ++i) {
    CHATGLM_UNROLL
    for (int c = 0; c < kChains; ++c) sums[c] = V::fma(sums[c], factor, term);
  }
  auto total = sums[0];
  for (int c = 1; c < kChains; ++c) total = V::add(total, sums[c]);
  // The sums stay below 12 * 12: the test keeps the loop from being removed.
  return V::reduce_add(total) < 1e6F ? iterations * kChains * V::kLanes * 2 : 0;
}

// The dot product instructions alone: codes stay in registers, inputs come from the first-level
// cache, each for all codes; nothing is unpacked or scaled.
template <class V>
int64_t peak_int8(int64_t iterations) {
  using Dot = typename V::template CodeDot<15>;
  constexpr int kVectors = V::kPeakChains / 3;        // of codes; two sums for each
  constexpr int kSteps = 8;                           // inputs after each other
  constexpr int64_t kVector = V::kLanes * V::kGroup;  // bytes
  alignas(64) uint8_t all_codes[kVectors * kVector];
  int8_t all_inputs[2 * kSteps * V::kGroup];
  std::memset(all_codes, 7, sizeof(all_codes));
  // Those of the second half are the negative ones of the first, so the sums go back to zero.
  std::memset(all_inputs, 5, kSteps * V::kGroup);
  std::memset(all_inputs + kSteps * V::kGroup, -5, kSteps * V::kGroup);
  // Behind a volatile pointer the compiler does not know that, and computes every product.
  const uint8_t* volatile opaque_codes = all_codes;
  const int8_t* volatile opaque_inputs = all_inputs;
  const uint8_t* const codes = opaque_codes;

  typename V::Bytes vectors[kVectors];
  typename Dot::Partial sums[kVectors][2];
  CHATGLM_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    vectors[v] = V::load_bytes(codes + v * kVector);
    sums[v][0] = sums[v][1] = Dot::begin(V::ints(0));
  }
  for (int64_t i = 0; i < iterations; ++i) {
    const int8_t* input = opaque_inputs;  // again in each iteration: no product is taken out
    CHATGLM_UNROLL
    for (int step = 0; step < 2 * kSteps; ++step, input += V::kGroup) {
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        sums[v][step % 2] = Dot::add(sums[v][step % 2], vectors[v], input);
      }
    }
  }
  float total = 0;
  for (int v = 0; v < kVectors; ++v) {
    for (int i = 0; i < 2; ++i) {
      total += V::reduce_add(V::to_f32(Dot::end(V::ints(0), sums[v][i])));
    }
  }
  const int64_t products = iterations * 2 * kSteps * kVectors * kVector;
  return total < 1e6F ? 2 * products : 0;
}

// Reads floats as kStreams equal parts of the same memory, a cache line of each in turn.
template <class V, int kStreams>
float read_streams(const float* data, int64_t count) {
  constexpr int64_t kLine = 16;  // floats
  constexpr int kVectors = kLine / V::kLanes;
  const int64_t part = count / kStreams / kLine * kLine;
  typename V::F32 sums[kStreams];
  CHATGLM_UNROLL
  for (int s = 0; s < kStreams; ++s) sums[s] = V::set(0.0F);
  for (int64_t at = 0; at < part; at += kLine) {
    CHATGLM_UNROLL
    for (int s = 0; s < kStreams; ++s) {
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        sums[s] = V::add(sums[s], V::load(data + s * part + at + v * V::kLanes));
      }
    }
  }
  auto total = sums[0];
  for (int s = 1; s < kStreams; ++s) total = V::add(total, sums[s]);
  return V::reduce_add(total);
}

// How many streams are fastest depends on the prefetchers: the benchmark tries them.
template <class V>
float peak_read(const float* data, int64_t count, int streams) {
  switch (streams) {
    case 1:
      return read_streams<V, 1>(data, count);
    case 2:
      return read_streams<V, 2>(data, count);
    default:
      return read_streams<V, 4>(data, count);
  }
}

}  // namespace chatglm::kernels
