// Fibers by exchanging stacks: a few instructions on x86-64, the C library's contexts elsewhere
// (each switch then costs two system calls). The sanitizers are told of every switch.
#include "emulation/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

#if defined(__x86_64__)
// Saves what a function must keep and the stack pointer, then takes up the other stack.
extern "C" void cuda_emulation_switch(void** from, void* to);
asm(R"(
.text
.p2align 4
.globl cuda_emulation_switch
.hidden cuda_emulation_switch
.type cuda_emulation_switch, @function
cuda_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_emulation_switch, . - cuda_emulation_switch
)");
#endif

namespace cuda_emulation {
namespace {

// Sanitizers need larger frames. The pages are only there once they are used.
constexpr std::size_t kStackBytes = 256 * 1024;

}  // namespace

struct Fiber::State {
  std::byte* memory = nullptr;  // a page nobody may touch, then (kStackBytes)
  std::size_t guard_bytes = 0;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
#if defined(__x86_64__)
  void* own = nullptr;  // stack pointers while not running
  void* resumer = nullptr;
#else
  ucontext_t own{};
  ucontext_t resumer{};
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  const void* resumer_stack = nullptr;
  std::size_t resumer_stack_bytes = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* tsan_fiber = nullptr;
  void* tsan_resumer = nullptr;
#endif

  std::byte* stack() const { return memory + guard_bytes; }

  void arrived([[maybe_unused]] bool first) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(first ? nullptr : fake_stack, &resumer_stack,
                                    &resumer_stack_bytes);
#endif
  }
};

namespace {

constinit thread_local void* starting = nullptr;  // the Fiber::State that runs for the first time

}  // namespace

Fiber::Fiber() : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.guard_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t bytes = state.guard_bytes + kStackBytes;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, state.guard_bytes, PROT_NONE);
  state.memory = static_cast<std::byte*>(memory);
#if defined(__SANITIZE_THREAD__)
  state.tsan_fiber = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(state_->tsan_fiber);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(state_->stack(), kStackBytes);
#endif
  munmap(state_->memory, state_->guard_bytes + kStackBytes);
}

void Fiber::restart(void (*body)(void*), void* argument) {
  State& state = *state_;
  state.body = body;
  state.argument = argument;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(state.stack(), kStackBytes);
  state.fake_stack = nullptr;
#endif
  void (*entry)() = [] {
    State& self = *static_cast<State*>(starting);
    self.arrived(true);
    self.body(self.argument);
  };
#if defined(__x86_64__)
  // As the switch leaves a stack: six registers, the address to return to; behind it the stack is
  // aligned as in a function that was called.
  void** top = reinterpret_cast<void**>(state.stack() + kStackBytes) - 2;
  *top = reinterpret_cast<void*>(entry);
  state.own = top - 6;
  for (int i = 1; i <= 6; ++i) top[-i] = nullptr;
  top[1] = nullptr;
#else
  getcontext(&state.own);
  state.own.uc_stack.ss_sp = state.stack();
  state.own.uc_stack.ss_size = kStackBytes;
  state.own.uc_link = nullptr;
  makecontext(&state.own, entry, 0);
#endif
}

void Fiber::resume() {
  State& state = *state_;
  starting = &state;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, state.stack(), kStackBytes);
#endif
#if defined(__SANITIZE_THREAD__)
  state.tsan_resumer = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(state.tsan_fiber, 0);
#endif
#if defined(__x86_64__)
  cuda_emulation_switch(&state.resumer, state.own);
#else
  swapcontext(&state.resumer, &state.own);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::suspend() {
  State& state = *state_;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&state.fake_stack, state.resumer_stack, state.resumer_stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(state.tsan_resumer, 0);
#endif
#if defined(__x86_64__)
  cuda_emulation_switch(&state.own, state.resumer);
#else
  swapcontext(&state.own, &state.resumer);
#endif
  state.arrived(false);
}

}  // namespace cuda_emulation
