#include "emulation/matrix_words.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "emulation/device_memory.h"
#include "emulation/halves.h"
#include "emulation/shared_arena.h"
#include "emulation/thread_state.h"

namespace cuda_emulation {
namespace {

// What a lane brings to a product; the last lane puts the result into d.
template <typename Sum>
struct Fragments {
  uint32_t a[4];
  uint32_t b[2];
  Sum d[4];
};

// Element (row, column) of a: register and lane by the PTX ISA, for elements of `kBits` bits, of
// which a register holds a few neighbours of one row. The first 8 rows are in registers 0 and 2,
// the first half of the columns in 0 and 1. Of b (row = k, column = n) the same with one block of
// rows.
template <typename Sum, int kBits>
uint32_t element_of_a(const Meeting& meeting, int row, int column) {
  constexpr int kPerRegister = 32 / kBits;
  const int half = column / (4 * kPerRegister);
  const int lane = row % 8 * 4 + column / kPerRegister % 4;
  Fragments<Sum> of_lane;
  std::memcpy(&of_lane, meeting.of[lane].bytes, sizeof(of_lane));
  return of_lane.a[2 * half + row / 8] >> column % kPerRegister * kBits;
}

template <typename Sum, int kBits>
uint32_t element_of_b(const Meeting& meeting, int row, int column) {
  constexpr int kPerRegister = 32 / kBits;
  const int lane = column * 4 + row / kPerRegister % 4;
  Fragments<Sum> of_lane;
  std::memcpy(&of_lane, meeting.of[lane].bytes, sizeof(of_lane));
  return of_lane.b[row / (4 * kPerRegister)] >> row % kPerRegister * kBits;
}

double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<uint64_t>(1023 + exponent) << 52);
}

// The sum of d and products, as tensor cores make it: each addend is cut off below the last bit
// that the largest one has as an f32, and so is the result. They keep a few bits more in places,
// never less (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of NVIDIA tensor cores).
template <int kInner>
float rounded_sum(float d, const double (&a)[kInner], const double (&b)[kInner]) {
  double addends[kInner + 1];
  double largest = std::fabs(addends[kInner] = d);
  double sum = d;
  for (int k = 0; k < kInner; ++k) {
    addends[k] = a[k] * b[k];
    sum += addends[k];
    largest = std::max(largest, std::fabs(addends[k]));
  }
  if (!std::isfinite(sum) || largest == 0) return static_cast<float>(sum);
  int last_bit = static_cast<int>(std::bit_cast<uint64_t>(largest) >> 52) - 1023 - 23;
  const double to_units = power_of_two(-last_bit);
  int64_t units = 0;
  for (const double addend : addends) units += static_cast<int64_t>(addend * to_units);
  for (; units >= 1 << 24 || units <= -(1 << 24); ++last_bit) units /= 2;
  return static_cast<float>(static_cast<double>(units) * power_of_two(last_bit));
}
template <int kInner>
int32_t rounded_sum(int32_t d, const int64_t (&a)[kInner], const int64_t (&b)[kInner]) {
  int64_t sum = d;
  for (int k = 0; k < kInner; ++k) sum += a[k] * b[k];
  return static_cast<int32_t>(sum);
}

template <typename Sum, typename Wide, int kBits, Wide (*convert)(uint32_t)>
void multiply(Meeting& meeting) {
  constexpr int kInner = 256 / kBits;
  Wide a[16][kInner], b[8][kInner];
  for (int k = 0; k < kInner; ++k) {
    for (int i = 0; i < 16; ++i) a[i][k] = convert(element_of_a<Sum, kBits>(meeting, i, k));
    for (int j = 0; j < 8; ++j) b[j][k] = convert(element_of_b<Sum, kBits>(meeting, k, j));
  }
  for (int lane = 0; lane < 32; ++lane) {
    Fragments<Sum> fragments;
    std::memcpy(&fragments, meeting.of[lane].bytes, sizeof(fragments));
    for (int e = 0; e < 4; ++e) {
      const int row = lane / 4 + e / 2 * 8;
      const int column = lane % 4 * 2 + e % 2;
      fragments.d[e] = rounded_sum(fragments.d[e], a[row], b[column]);
    }
    std::memcpy(meeting.of[lane].bytes, &fragments, sizeof(fragments));
  }
}

double from_f16(uint32_t bits) {
  return half_bits_to_float(static_cast<uint16_t>(bits));
}
double from_bf16(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}
int64_t from_s8(uint32_t bits) {
  return static_cast<int8_t>(bits);
}

template <typename Sum, typename Wide, int kBits, Wide (*convert)(uint32_t)>
void mma(Sum (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Fragments<Sum> fragments;
  static_assert(sizeof(fragments) <= kDepositBytes);
  std::memcpy(fragments.a, a, sizeof(a));
  std::memcpy(fragments.b, b, sizeof(b));
  std::memcpy(fragments.d, d, sizeof(d));
  Meeting& meeting = meet(0xffffffff, Gathering::kMma, &fragments, sizeof(fragments),
                          &multiply<Sum, Wide, kBits, convert>);
  std::memcpy(&fragments, meeting.of[lane_index()].bytes, sizeof(fragments));
  leave(meeting);
  std::memcpy(d, fragments.d, sizeof(d));
}

}  // namespace

void mma_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  mma<float, double, 16, from_f16>(d, a, b);
}
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  mma<float, double, 16, from_bf16>(d, a, b);
}
void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  mma<int32_t, int64_t, 8, from_s8>(d, a, b);
}

bool is_row_address(const void* row) {
  const auto* const place = static_cast<const std::byte*>(row);
  const std::byte* const begin = shared_arena();
  if (place < begin || place + 16 > begin + kMaxSharedBytes) {
    report("ldmatrix is given an address outside of shared memory");
    return false;
  }
  if ((place - begin) % 16 != 0) report("ldmatrix is given an address that is no multiple of 16");
  return true;
}

void distribute_matrices(uint32_t* registers, int count, const uint4& row, bool transposed) {
  Meeting& meeting = meet(0xffffffff, Gathering::kLoadMatrix, &row, sizeof(row));
  const unsigned lane = lane_index();
  for (int matrix = 0; matrix < count; ++matrix) {
    uint16_t pair[2];
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned from_row = transposed ? lane % 4 * 2 + i : lane / 4;
      const unsigned column = transposed ? lane / 4 : lane % 4 * 2 + i;
      std::memcpy(&pair[i], meeting.of[8 * matrix + from_row].bytes + 2 * column, 2);
    }
    registers[matrix] = static_cast<uint32_t>(pair[1]) << 16 | pair[0];
  }
  leave(meeting);
}

void start_copy(void* shared, const void* global, int bytes) {
  auto* const place = static_cast<std::byte*>(shared);
  const std::byte* const begin = shared_arena();
  if (place < begin || place + kCopyBytes > begin + kMaxSharedBytes) {
    report("cp.async is given a destination outside of shared memory");
    return;
  }
  if ((place - begin) % kCopyBytes != 0 || reinterpret_cast<uintptr_t>(global) % kCopyBytes != 0) {
    report("cp.async is given an address that is no multiple of 16");
  }
  if (bytes < 0 || bytes > static_cast<int>(kCopyBytes)) {
    report("cp.async is to copy " + std::to_string(bytes) + " bytes");
    return;
  }
  if (bytes > 0 && in_device_arena(global) &&
      !is_valid_in_kernel(global, static_cast<std::size_t>(bytes))) {
    report_invalid_access(global, static_cast<std::size_t>(bytes), false,
                          __builtin_return_address(0));
    return;
  }
  Thread& self = *running_thread();
  if (self.before_wait && bytes > 0 && in_device_arena(global) &&
      *device_addresses.latest_is_written) {
    report("copies what kernels write before grid_dependency_wait()");
  }
  poison_for_copy(place, __builtin_return_address(0));
  self.copies.push_back(
      {place, static_cast<const std::byte*>(global), static_cast<std::size_t>(bytes)});
  ++self.copies_in_open_group;
}

void close_copy_group() {
  Thread& self = *running_thread();
  self.groups.push_back(self.copies_in_open_group);
  self.copies_in_open_group = 0;
}

namespace {

void finish_oldest(Thread& thread, std::size_t count, const void* code) {
  for (std::size_t i = 0; i < count; ++i) {
    const PendingCopy& copy = thread.copies[i];
    finish_copy(copy.shared, copy.global, copy.bytes, code);
  }
  thread.copies.erase(thread.copies.begin(),
                      thread.copies.begin() + static_cast<std::ptrdiff_t>(count));
}

}  // namespace

void wait_for_copies(int pending_groups) {
  Thread& self = *running_thread();
  while (self.groups.size() > static_cast<std::size_t>(pending_groups)) {
    finish_oldest(self, self.groups.front(), __builtin_return_address(0));
    self.groups.erase(self.groups.begin());
  }
}

void finish_copies(Thread& thread) {
  finish_oldest(thread, thread.copies.size(), __builtin_return_address(0));
}

}  // namespace cuda_emulation
