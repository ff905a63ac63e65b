// What the threads of a block do together: barriers, shuffles, votes, reductions; and atomics.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "emulation/block.h"

inline void __syncthreads() {
  cuda_emulation::block_barrier();
}
inline void __syncwarp(unsigned mask = 0xffffffff) {
  using namespace cuda_emulation;
  leave(meet(mask, Gathering::kSync, nullptr, 0));
}

namespace cuda_emulation {

// What `choose(meeting)` makes of the values that the lanes deposited.
template <typename T, typename Choose>
auto gather(unsigned mask, Gathering kind, const T& value, Choose choose) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= kDepositBytes);
  Meeting& meeting = meet(mask, kind, &value, sizeof(T));
  const auto result = choose(meeting);
  leave(meeting);
  return result;
}

template <typename T>
T deposit_of(const Meeting& meeting, unsigned lane) {
  T value;
  std::memcpy(&value, meeting.of[lane].bytes, sizeof(T));
  return value;
}

// What `source` names, which must take part; `own` where it lies outside of the lane's segment.
template <typename T>
T shuffle(unsigned mask, const T& own, int source, int first, int last) {
  static_assert(sizeof(T) <= 8, "a shuffle moves 4 or 8 bytes");
  return gather(mask, Gathering::kShuffle, own, [&](const Meeting& meeting) {
    if (source < first || source > last) return own;
    if ((mask >> source & 1) == 0) {
      report("a shuffle reads lane " + std::to_string(source) + ", which its mask does not name");
    }
    return deposit_of<T>(meeting, static_cast<unsigned>(source));
  });
}

template <typename T, typename Combine>
T reduce(unsigned mask, T value, Combine combine) {
  return gather(mask, Gathering::kReduce, value, [&](const Meeting& meeting) {
    const auto first = static_cast<unsigned>(std::countr_zero(mask));
    T result = deposit_of<T>(meeting, first);
    for (unsigned lane = first + 1; lane < kLanes; ++lane) {
      if ((mask >> lane & 1) != 0) result = combine(result, deposit_of<T>(meeting, lane));
    }
    return result;
  });
}

}  // namespace cuda_emulation

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize) {
  const int first = static_cast<int>(cuda_emulation::lane_index()) & -width;
  source = first | (source & (width - 1));
  return cuda_emulation::shuffle(mask, value, source, first, first + width - 1);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize) {
  const int own = static_cast<int>(cuda_emulation::lane_index());
  return cuda_emulation::shuffle(mask, value, own ^ lanes, 0, (own & -width) + width - 1);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = warpSize) {
  const int own = static_cast<int>(cuda_emulation::lane_index());
  const int first = own & -width;
  return cuda_emulation::shuffle(mask, value, own + static_cast<int>(lanes), first,
                                 first + width - 1);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = warpSize) {
  const int own = static_cast<int>(cuda_emulation::lane_index());
  const int first = own & -width;
  return cuda_emulation::shuffle(mask, value, own - static_cast<int>(lanes), first,
                                 first + width - 1);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace cuda_emulation;
  return gather(mask, Gathering::kVote, predicate, [&](const Meeting& meeting) {
    unsigned votes = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1) != 0 && deposit_of<int>(meeting, lane) != 0) votes |= 1u << lane;
    }
    return votes;
  });
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}
template <typename T>
unsigned __match_any_sync(unsigned mask, T value) {
  using namespace cuda_emulation;
  return gather(mask, Gathering::kMatch, value, [&](const Meeting& meeting) {
    unsigned same = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1) != 0 && deposit_of<T>(meeting, lane) == value) same |= 1u << lane;
    }
    return same;
  });
}

#define CUDA_EMULATION_REDUCE(NAME, T, EXPRESSION)                                        \
  inline T NAME(unsigned mask, T value) {                                                 \
    return cuda_emulation::reduce(mask, value, [](T a, T b) -> T { return EXPRESSION; }); \
  }
CUDA_EMULATION_REDUCE(__reduce_add_sync, int, a + b)
CUDA_EMULATION_REDUCE(__reduce_add_sync, unsigned, a + b)
CUDA_EMULATION_REDUCE(__reduce_min_sync, int, b < a ? b : a)
CUDA_EMULATION_REDUCE(__reduce_min_sync, unsigned, b < a ? b : a)
CUDA_EMULATION_REDUCE(__reduce_max_sync, int, a < b ? b : a)
CUDA_EMULATION_REDUCE(__reduce_max_sync, unsigned, a < b ? b : a)
CUDA_EMULATION_REDUCE(__reduce_and_sync, unsigned, a& b)
CUDA_EMULATION_REDUCE(__reduce_or_sync, unsigned, a | b)
CUDA_EMULATION_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef CUDA_EMULATION_REDUCE

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __trap() {
  cuda_emulation::report("__trap() was called");
}

namespace cuda_emulation {

// The place's value becomes `change(value)`; returns what it was.
template <typename T, typename Change>
T update_atomically(T* place, Change change) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  Bits* bits = reinterpret_cast<Bits*>(place);
  Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(bits, &before,
                                      std::bit_cast<Bits>(change(std::bit_cast<T>(before))), false,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return std::bit_cast<T>(before);
}

}  // namespace cuda_emulation

#define CUDA_EMULATION_ATOMIC(NAME, EXPRESSION)                                                 \
  template <typename T>                                                                         \
  T NAME(T* place, std::type_identity_t<T> value) {                                             \
    return cuda_emulation::update_atomically(place, [&](T before) -> T { return EXPRESSION; }); \
  }
CUDA_EMULATION_ATOMIC(atomicAdd, before + value)
CUDA_EMULATION_ATOMIC(atomicSub, before - value)
CUDA_EMULATION_ATOMIC(atomicMin, value < before ? value : before)
CUDA_EMULATION_ATOMIC(atomicMax, before < value ? value : before)
CUDA_EMULATION_ATOMIC(atomicAnd, before& value)
CUDA_EMULATION_ATOMIC(atomicOr, before | value)
CUDA_EMULATION_ATOMIC(atomicExch, (static_cast<void>(before), value))
// Wraps around to 0 behind `value`.
CUDA_EMULATION_ATOMIC(atomicInc, before >= value ? T{0} : before + 1)
#undef CUDA_EMULATION_ATOMIC
template <typename T>
T atomicCAS(T* place, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return cuda_emulation::update_atomically(
      place, [&](T before) { return before == expected ? value : before; });
}
