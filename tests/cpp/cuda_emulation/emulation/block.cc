// Runs a grid: the threads of one block are fibers that take turns, and change at barriers and
// meetings. When nobody can go on, the threads that wait are told of and the block is abandoned.
#include "emulation/block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <sstream>
#include <vector>

#include "emulation/bulk_copies.h"
#include "emulation/fiber.h"
#include "emulation/races.h"
#include "emulation/reports.h"
#include "emulation/shared_arena.h"
#include "emulation/thread_state.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace cuda_emulation {
namespace {

const char* const kGatherings[] = {"__syncwarp",       "a shuffle", "a vote",  "a warp's reduction",
                                   "__match_any_sync", "mma",       "ldmatrix"};

}  // namespace

// Everything that a grid needs, kept from one to the next.
class Machine {
 public:
  void run(const dim3& grid, unsigned threads, std::size_t shared_bytes, bool early,
           const std::function<void()>& kernel);
  void barrier();
  void wait_for_earlier_kernels();
  Meeting& meet(uint32_t mask, Gathering kind, const void* deposit, std::size_t bytes,
                void (*complete)(Meeting&));
  static void leave(Meeting& meeting);
  std::byte* shared(std::size_t bytes);
  void wait(Thread& thread, const char* what, uint32_t mask);
  void ready(Thread* thread) { ready_.push_back(thread); }

 private:
  struct Warp {
    std::deque<Meeting> meetings;  // those with nobody left in are free
  };

  void prepare_threads(unsigned count);
  void run_block();
  void begin(Thread& thread) const;
  void explain_standstill();
  static void thread_body(void* argument);

  std::vector<std::unique_ptr<Thread>> threads_;
  std::deque<Thread*> ready_;
  std::vector<Thread*> at_barrier_;
  std::vector<Warp> warps_;
  const std::function<void()>* kernel_ = nullptr;
  unsigned count_ = 0;
  std::size_t shared_bytes_ = 0;
  bool early_ = false;
  bool waited_ = false;  // some thread has, for the kernels before an early one
};

namespace {

constinit thread_local Thread* running = nullptr;
constinit thread_local Machine* machine = nullptr;

}  // namespace

Thread* running_thread() {
  return running;
}

void Machine::thread_body(void* argument) {
  Thread& self = *static_cast<Thread*>(argument);
  (*machine->kernel_)();
  finish_copies(self);
  self.finished = true;
  self.fiber.suspend();
}

void Machine::begin(Thread& thread) const {
  thread.finished = false;
  thread.before_wait = early_;
  thread.copies.clear();
  thread.groups.clear();
  thread.copies_in_open_group = 0;
  thread.fiber.restart(&thread_body, &thread);
}

void Machine::prepare_threads(unsigned count) {
  count_ = count;
  while (threads_.size() < count) {
    threads_.push_back(std::make_unique<Thread>());
    threads_.back()->index = static_cast<unsigned>(threads_.size() - 1);
  }
  warps_.resize((count + kLanes - 1) / kLanes);
}

void Machine::run(const dim3& grid, unsigned threads, std::size_t shared_bytes, bool early,
                  const std::function<void()>& kernel) {
  prepare_threads(threads);
  kernel_ = &kernel;
  shared_bytes_ = shared_bytes;
  early_ = early;
  waited_ = false;
  machine = this;
  gridDim = grid;
  blockDim = dim3(threads);
  const std::size_t reports_before = report_count();
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        if (report_count() != reports_before) return;  // the GPU stops at an error too
        blockIdx = {x, y, z};
        run_block();
      }
    }
  }
  // It would end before them, and who waits for it alone would not have waited for them.
  if (early && !waited_) add_report("no thread of an early kernel calls grid_dependency_wait()");
}

void Machine::run_block() {
  open_shared_arena(shared_bytes_);
  forget_barriers();
  ready_.clear();
  at_barrier_.clear();
  for (Warp& warp : warps_) {
    for (Meeting& meeting : warp.meetings) meeting.left = meeting.arrived = meeting.mask;
  }
  for (unsigned i = 0; i < count_; ++i) {
    begin(*threads_[i]);
    ready(threads_[i].get());
  }
  while (!ready_.empty()) {
    running = ready_.front();
    ready_.pop_front();
    threadIdx = {running->index, 0, 0};
    running->fiber.resume();
  }
  running = nullptr;
  explain_standstill();
}

// Nobody is ready: all have returned, or those that have not wait for what never comes.
void Machine::explain_standstill() {
  unsigned waiting = 0, returned = 0;
  const Thread* first = nullptr;
  for (unsigned i = 0; i < count_; ++i) {
    Thread& thread = *threads_[i];
    if (thread.finished) {
      ++returned;
      continue;
    }
    if (first == nullptr) first = &thread;
    ++waiting;
  }
  if (first == nullptr) return check_that_copies_ended();
  std::ostringstream sentence;
  sentence << "block (" << blockIdx.x << ", " << blockIdx.y << ", " << blockIdx.z
           << ") stands still: " << waiting << " of its " << count_ << " threads wait, " << returned
           << " have returned";
  for (unsigned i = 0, told = 0; i < count_ && told < 4; ++i) {
    const Thread& thread = *threads_[i];
    // One for each place where threads wait.
    const bool same = i > first->index && thread.waits_for == first->waits_for &&
                      thread.waits_mask == first->waits_mask;
    if (thread.finished || same) continue;
    sentence << "; thread " << i << " waits at " << thread.waits_for;
    if (thread.waits_mask != 0) {
      sentence << " for the lanes 0x" << std::hex << thread.waits_mask << std::dec;
    }
    ++told;
  }
  add_report(sentence.str());
}

void Machine::wait(Thread& thread, const char* what, uint32_t mask) {
  thread.waits_for = what;
  thread.waits_mask = mask;
  thread.fiber.suspend();
}

void Machine::wait_for_earlier_kernels() {
  running->before_wait = false;
  waited_ = true;
}

void Machine::barrier() {
  if (at_barrier_.size() + 1 < count_) {
    at_barrier_.push_back(running);
    wait(*running, "__syncthreads()", 0);
    return;
  }
  order_blocks();
  for (Thread* thread : at_barrier_) ready(thread);
  at_barrier_.clear();
}

Meeting& Machine::meet(uint32_t mask, Gathering kind, const void* deposit, std::size_t bytes,
                       void (*complete)(Meeting&)) {
  Thread& self = *running;
  const unsigned lane = self.index % kLanes;
  const char* const name = kGatherings[static_cast<int>(kind)];
  if ((mask >> lane & 1) == 0) {
    report(std::string(name) + " is called with a mask that does not name the calling lane");
    mask |= 1u << lane;
  }
  std::deque<Meeting>& meetings = warps_[self.index / kLanes].meetings;
  Meeting* meeting = nullptr;
  for (Meeting& open : meetings) {
    if (open.mask == mask && open.arrived != mask && (open.arrived >> lane & 1) == 0) {
      meeting = &open;
      break;
    }
    if (open.left == open.mask && meeting == nullptr) meeting = &open;
  }
  if (meeting == nullptr) meeting = &meetings.emplace_back();
  if (meeting->left == meeting->mask) {  // free
    meeting->mask = mask;
    meeting->arrived = meeting->left = 0;
    meeting->kind = kind;
  }
  if (meeting->kind != kind) {
    report("lanes of one warp meet at " + std::string(name) + " and at " +
           kGatherings[static_cast<int>(meeting->kind)]);
  }
  meeting->arrived |= 1u << lane;
  if (bytes != 0) std::memcpy(meeting->of[lane].bytes, deposit, bytes);
  if (meeting->arrived != mask) {
    wait(self, name, mask);
    return *meeting;
  }
  if (complete != nullptr) complete(*meeting);
  const unsigned warp_begin = self.index - lane;
  if (kind == Gathering::kSync) order_lanes(warp_begin, mask);
  for (uint32_t others = mask & ~(1u << lane); others != 0; others &= others - 1) {
    ready(threads_[warp_begin + static_cast<unsigned>(std::countr_zero(others))].get());
  }
  return *meeting;
}

void Machine::leave(Meeting& meeting) {
  meeting.left |= 1u << lane_index();
}

std::byte* Machine::shared(std::size_t bytes) {
  if (bytes > shared_bytes_) {
    report("the kernel uses " + std::to_string(bytes) + " bytes of shared memory and was given " +
           std::to_string(shared_bytes_));
  }
  return shared_arena();
}

void run_grid(const dim3& grid, unsigned threads, std::size_t shared_bytes, bool early,
              const std::function<void()>& kernel) {
  static std::mutex one_at_a_time;
  static Machine the_machine;
  const std::lock_guard lock(one_at_a_time);
  the_machine.run(grid, threads, shared_bytes, early, kernel);
  machine = nullptr;
}

void report(const std::string& sentence) {
  std::ostringstream where;
  where << "thread " << thread_index() << " of block (" << blockIdx.x << ", " << blockIdx.y << ", "
        << blockIdx.z << "): " << sentence;
  add_report(where.str());
}

unsigned thread_index() {
  return running == nullptr ? 0 : running->index;
}
std::byte* block_shared_memory(std::size_t bytes) {
  return machine->shared(bytes);
}
void wait_for_earlier_kernels() {
  machine->wait_for_earlier_kernels();
}
void suspend_thread(const char* what) {
  machine->wait(*running, what, 0);
}
void wake_thread(Thread& thread) {
  machine->ready(&thread);
}
void block_barrier() {
  machine->barrier();
}

Meeting& meet(uint32_t mask, Gathering kind, const void* deposit, std::size_t bytes,
              void (*complete)(Meeting&)) {
  return machine->meet(mask, kind, deposit, bytes, complete);
}
void leave(Meeting& meeting) {
  Machine::leave(meeting);
}

}  // namespace cuda_emulation
