// A stack of its own on which a function runs until it hands control back.
#pragma once

#include <cstddef>
#include <memory>

namespace cuda_emulation {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes the next resume() call `body(argument)`, which never returns: it suspends for good. What
  // was running here is given up, its frames are not unwound.
  void restart(void (*body)(void*), void* argument);
  // Runs the fiber until it suspends. From the thread's own stack only.
  void resume();
  // Back to who resumed this fiber.
  void suspend();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cuda_emulation
