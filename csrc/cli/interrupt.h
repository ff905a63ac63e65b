// Ctrl-C as a flag that loops look at, instead of the end of the program.
#pragma once

namespace chatglm::cli {

// While one of these lives, Ctrl-C sets the flag. One at a time.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // Whether Ctrl-C came since the last call.
  static bool take();
};

// Ends the process the way Ctrl-C does where nobody catches it, so that a calling shell sees it.
[[noreturn]] void die_of_interrupt();

}  // namespace chatglm::cli
