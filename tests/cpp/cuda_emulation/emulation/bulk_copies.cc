#include "emulation/bulk_copies.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "emulation/block.h"
#include "emulation/device_memory.h"
#include "emulation/races.h"
#include "emulation/reports.h"
#include "emulation/shared_arena.h"
#include "emulation/tensor_map.h"
#include "emulation/thread_state.h"

namespace cuda_emulation {
namespace {

constexpr std::size_t kBarrierBytes = 8;

struct BoxCopy {
  std::byte* shared;
  TensorMap map;
  int64_t column_bytes = 0, row = 0;  // of the box's first element
  const void* code = nullptr;

  int bytes() const { return map.box_rows * map.box_row_bytes; }
  // Where piece `piece` of row `row` of the box lies.
  std::byte* place(int in_row, int piece) const {
    auto offset = static_cast<std::size_t>(shared - shared_arena()) +
                  static_cast<std::size_t>(in_row * map.box_row_bytes) +
                  static_cast<std::size_t>(piece) * kCopyBytes;
    if (map.swizzled) offset ^= (offset >> 7 & 7) << 4;
    return shared_arena() + offset;
  }
  int pieces() const { return map.box_row_bytes / static_cast<int>(kCopyBytes); }
  // Of a piece, the bytes that the matrix has.
  std::size_t present(int in_row, int piece) const {
    const int64_t at_row = row + in_row;
    const int64_t at = column_bytes + piece * static_cast<int64_t>(kCopyBytes);
    if (at_row < 0 || at_row >= map.rows || at < 0) return 0;
    const auto most = static_cast<int64_t>(kCopyBytes);
    return static_cast<std::size_t>(std::clamp(map.row_bytes - at, int64_t{0}, most));
  }
  const std::byte* source(int in_row, int piece) const {
    return map.begin + (row + in_row) * map.stride_bytes + column_bytes +
           piece * static_cast<int64_t>(kCopyBytes);
  }
};

struct Barrier {
  unsigned index;  // in the order in which they were made
  unsigned arrivals;
  unsigned pending;       // arrivals that this phase still waits for
  int64_t expected = 0;   // bytes, less those that have come
  unsigned phases = 0;    // that have ended
  uint32_t landings = 0;  // the number of the last one
  std::vector<BoxCopy> copies = {};
  std::vector<Thread*> waiting = {};
};

struct Barriers {
  std::map<const void*, Barrier> of;
  uint32_t landings = 0;  // since the process began
};
Barriers all;

// nullptr: reported.
Barrier* find(void* barrier, const char* what, const void* code) {
  const auto found = all.of.find(barrier);
  if (found == all.of.end()) {
    report(std::string(what) + " of a barrier that was not made, in " + name_of_code(code));
    return nullptr;
  }
  check_shared_access(static_cast<std::byte*>(barrier), kBarrierBytes, Access::kAtomic, code);
  return &found->second;
}

void wake_all(Barrier& barrier) {
  for (Thread* thread : barrier.waiting) wake_thread(*thread);
  barrier.waiting.clear();
}

void end_phase_if_complete(Barrier& barrier) {
  if (barrier.pending > 0 || barrier.expected != 0) return;
  barrier.pending = barrier.arrivals;
  ++barrier.phases;
}

void land(Barrier& barrier) {
  for (const BoxCopy& copy : barrier.copies) {
    barrier.landings = ++all.landings;
    for (int row = 0; row < copy.map.box_rows; ++row) {
      for (int piece = 0; piece < copy.pieces(); ++piece) {
        finish_bulk_copy(copy.place(row, piece), copy.source(row, piece), copy.present(row, piece));
        stamp_landing(copy.place(row, piece), kCopyBytes, barrier.index, barrier.landings,
                      copy.code);
      }
    }
    barrier.expected -= copy.bytes();
  }
  barrier.copies.clear();
  end_phase_if_complete(barrier);
}

}  // namespace

void init_barrier(void* barrier, unsigned arrivals) {
  const void* const code = __builtin_return_address(0);
  auto* const place = static_cast<std::byte*>(barrier);
  if (static_cast<std::size_t>(place - shared_arena()) % kBarrierBytes != 0) {
    report("a barrier lies at an address that is no multiple of 8");
  }
  check_shared_access(place, kBarrierBytes, Access::kWrite, code);
  if (all.of.size() == kMostBarriers) {
    report("more barriers than the emulation knows");
    return;
  }
  const auto index = static_cast<unsigned>(all.of.size());
  if (!all.of.emplace(barrier, Barrier{.index = index, .arrivals = arrivals, .pending = arrivals})
           .second) {
    report("a barrier is made twice");
  }
}

void arrive_and_expect(void* place, unsigned bytes) {
  Barrier* const barrier = find(place, "arrival", __builtin_return_address(0));
  if (barrier == nullptr) return;
  barrier->expected += bytes;
  --barrier->pending;
  end_phase_if_complete(*barrier);
  wake_all(*barrier);
}

void wait_for_phase(void* place, unsigned parity) {
  Barrier* const barrier = find(place, "wait", __builtin_return_address(0));
  if (barrier == nullptr) return;
  while ((barrier->phases & 1) == parity) {
    land(*barrier);
    if ((barrier->phases & 1) != parity) break;
    barrier->waiting.push_back(running_thread());
    suspend_thread("an mbarrier");
  }
  wake_all(*barrier);
  learn_landings(barrier->index, barrier->landings);
}

void start_box_copy(void* shared, const CUtensorMap& map, int column, int row, void* place) {
  const void* const code = __builtin_return_address(0);
  BoxCopy copy{.shared = static_cast<std::byte*>(shared), .map = {}, .row = row, .code = code};
  std::memcpy(&copy.map, &map, sizeof(copy.map));
  Barrier* const barrier = find(place, "copy", code);
  if (barrier == nullptr) return;
  if (copy.map.mark != kTensorMapMark) {
    report("a box is copied by what is no tensor map, in " + std::string(name_of_code(code)));
    return;
  }
  copy.column_bytes = int64_t{column} * copy.map.element_bytes;
  const std::byte* const begin = shared_arena();
  if (copy.shared < begin || copy.shared + copy.bytes() > begin + kMaxSharedBytes) {
    report("a box is copied to an address outside of shared memory");
    return;
  }
  if ((copy.shared - begin) % 128 != 0) {
    report("a box is copied to an address that is no multiple of 128");
    return;
  }
  for (int in_row = 0; in_row < copy.map.box_rows; ++in_row) {
    for (int piece = 0; piece < copy.pieces(); ++piece) {
      const std::size_t bytes = copy.present(in_row, piece);
      if (bytes > 0 && !is_valid_in_kernel(copy.source(in_row, piece), bytes)) {
        report_invalid_access(copy.source(in_row, piece), bytes, false, code);
        return;
      }
      if (bytes > 0 && running_thread()->before_wait && *device_addresses.latest_is_written) {
        report("copies what kernels write before grid_dependency_wait()");
        return;
      }
      poison_for_copy(copy.place(in_row, piece), code);
    }
  }
  barrier->copies.push_back(copy);
  wake_all(*barrier);
}

void forget_barriers() {
  all.of.clear();
}

void check_that_copies_ended() {
  for (const auto& [place, barrier] : all.of) {
    if (!barrier.copies.empty()) {
      add_report("a block ends while a box is copied, by " +
                 std::string(name_of_code(barrier.copies.front().code)));
    }
  }
}

}  // namespace cuda_emulation
