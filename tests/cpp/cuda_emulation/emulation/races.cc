#include "emulation/races.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "emulation/block.h"
#include "emulation/shared_arena.h"

namespace cuda_emulation {
namespace {

// When a thread did something. The block's epoch grows at every barrier; within it a thread's time
// grows when others may come to know what it did.
struct Stamp {
  uint32_t epoch = 0;
  uint32_t time = 0;
  uint16_t thread = 0;  // from kMaxThreads on: a copy that the barrier of this number tells of
  Access access = Access::kRead;
  int32_t code = 0;  // distance from a function of this file
};

// The latest write to a place, and some of the reads since then: of different warps where there
// were several, since their order is the likelier to be missing.
struct Cell {
  Stamp writer;
  std::array<Stamp, 3> readers;
};

constexpr std::size_t kWordBytes = 4;
constexpr std::size_t kWords = kMaxSharedBytes / kWordBytes;

struct Shadow {
  uint32_t epoch = 1;  // that of a fresh stamp lies before
  // Words are known as a whole until somebody touches a part of one in this epoch.
  std::array<Cell, kWords> words;
  std::array<Cell, kMaxSharedBytes> bytes;
  std::array<uint32_t, kWords> split;  // the epoch in which it was
  // Of each thread: its own time, and up to when it knows what the lanes of its warp did.
  std::array<uint32_t, kMaxThreads> time;
  std::array<std::array<uint32_t, kLanes>, kMaxThreads> known;
  // Of each thread: the last landing of each barrier's copies that it was told of.
  std::array<std::array<uint32_t, kMostBarriers>, kMaxThreads> landings;
  std::set<std::pair<int32_t, int32_t>> reported;  // places in code, a race is told of once
};

Shadow& shadow() {
  static Shadow the_shadow = [] {
    Shadow fresh{};
    fresh.time.fill(1);
    return fresh;
  }();
  return the_shadow;
}

int32_t code_distance(const void* code) {
  return static_cast<int32_t>(static_cast<const char*>(code) -
                              reinterpret_cast<const char*>(&code_distance));
}
const void* code_at(int32_t distance) {
  return reinterpret_cast<const char*>(&code_distance) + distance;
}

bool is_ordered(const Shadow& all, const Stamp& before, const Stamp& now) {
  if (before.epoch != all.epoch || before.thread == now.thread) return true;
  if (before.thread >= kMaxThreads) {
    return before.time <= all.landings[now.thread][before.thread - kMaxThreads];
  }
  if (before.thread / kLanes != now.thread / kLanes) return false;
  return before.time <= all.known[now.thread][before.thread % kLanes];
}

const char* verb(Access access) {
  switch (access) {
    case Access::kRead:
      return "reads";
    case Access::kWrite:
      return "writes";
    case Access::kAtomic:
      break;
  }
  return "updates atomically";
}

const char* past(Access access) {
  switch (access) {
    case Access::kRead:
      return "read";
    case Access::kWrite:
      return "wrote";
    case Access::kAtomic:
      break;
  }
  return "updated atomically";
}

void report_race(Shadow& all, std::size_t offset, const Stamp& before, const Stamp& now) {
  if (!all.reported.emplace(before.code, now.code).second) return;
  const std::string earlier = name_of_code(code_at(before.code));
  report(std::string("a race: ") + verb(now.access) + " shared memory at byte " +
         std::to_string(offset) + " in " + name_of_code(code_at(now.code)) + ", which " +
         (before.thread < kMaxThreads ? "thread " + std::to_string(before.thread) : "a bulk copy") +
         " " + past(before.access) + " in " + earlier + " with no barrier in between");
}

void remember_reader(const Shadow& all, Cell& cell, const Stamp& now) {
  for (Stamp& reader : cell.readers) {
    if (reader.thread == now.thread || is_ordered(all, reader, now)) {
      reader = now;
      return;
    }
  }
  // All of them still count. One of a warp that is there twice gives way.
  for (std::size_t i = 1; i < cell.readers.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (cell.readers[i].thread / kLanes == cell.readers[j].thread / kLanes) {
        cell.readers[i] = now;
        return;
      }
    }
  }
}

void touch(Shadow& all, Cell& cell, std::size_t offset, const Stamp& now) {
  const bool both_atomic = cell.writer.access == Access::kAtomic && now.access == Access::kAtomic;
  if (!both_atomic && !is_ordered(all, cell.writer, now)) {
    report_race(all, offset, cell.writer, now);
  }
  if (now.access == Access::kRead) {
    remember_reader(all, cell, now);
    return;
  }
  for (const Stamp& reader : cell.readers) {
    if (!is_ordered(all, reader, now)) report_race(all, offset, reader, now);
  }
  cell.writer = now;
  cell.readers = {};
}

}  // namespace

void check_shared_access(const std::byte* place, std::size_t bytes, Access access,
                         const void* code) {
  const std::byte* const begin = shared_arena();
  if (place < begin || place + bytes > begin + shared_arena_bytes()) {
    report(std::string(verb(access)) + " " + std::to_string(bytes) + " bytes at byte " +
           std::to_string(place - begin) + " of shared memory, of which there are " +
           std::to_string(shared_arena_bytes()) + ", in " + name_of_code(code));
    return;
  }
  if (is_being_copied(place, bytes)) {
    report(std::string(verb(access)) + " shared memory at byte " + std::to_string(place - begin) +
           ", to which a copy that was not waited for still writes, in " + name_of_code(code));
  }
  Shadow& all = shadow();
  Stamp now;
  now.epoch = all.epoch;
  now.thread = static_cast<uint16_t>(thread_index());
  now.time = all.time[now.thread];
  now.access = access;
  now.code = code_distance(code);
  auto at = static_cast<std::size_t>(place - begin);
  const std::size_t end = at + bytes;
  while (at < end) {
    const std::size_t word = at / kWordBytes;
    const std::size_t part_end = std::min(end, (word + 1) * kWordBytes);
    const bool whole = part_end - at == kWordBytes;
    if (whole && all.split[word] != all.epoch) {
      touch(all, all.words[word], at, now);
    } else {
      if (all.split[word] != all.epoch) {
        all.split[word] = all.epoch;
        std::fill_n(&all.bytes[word * kWordBytes], kWordBytes, all.words[word]);
      }
      for (std::size_t i = at; i < part_end; ++i) touch(all, all.bytes[i], i, now);
    }
    at = part_end;
  }
}

void stamp_landing(const std::byte* place, std::size_t bytes, unsigned barrier, uint32_t landing,
                   const void* code) {
  Shadow& all = shadow();
  Cell cell{};
  cell.writer.epoch = all.epoch;
  cell.writer.time = landing;
  cell.writer.thread = static_cast<uint16_t>(kMaxThreads + barrier);
  cell.writer.access = Access::kWrite;
  cell.writer.code = code_distance(code);
  const auto word = static_cast<std::size_t>(place - shared_arena()) / kWordBytes;
  for (std::size_t i = word; i < word + bytes / kWordBytes; ++i) {
    all.words[i] = cell;
    all.split[i] = 0;
  }
}

void learn_landings(unsigned barrier, uint32_t landing) {
  uint32_t& known = shadow().landings[thread_index()][barrier];
  known = std::max(known, landing);
}

void order_blocks() {
  ++shadow().epoch;
}

void order_lanes(unsigned warp_begin, uint32_t mask) {
  Shadow& all = shadow();
  std::array<uint32_t, kLanes> joined{};
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const auto& known = all.known[warp_begin + lane];
    for (unsigned i = 0; i < kLanes; ++i) joined[i] = std::max(joined[i], known[i]);
    joined[lane] = std::max(joined[lane], all.time[warp_begin + lane]++);
  }
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1) != 0) all.known[warp_begin + lane] = joined;
  }
}

}  // namespace cuda_emulation
