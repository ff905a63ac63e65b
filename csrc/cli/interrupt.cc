#include "cli/interrupt.h"

#include <atomic>
#include <csignal>
#include <cstdlib>

namespace chatglm::cli {
namespace {

// A signal handler has no other way to reach the program.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_interrupt(int) {
  interrupted.store(true);
#ifdef _WIN32
  std::signal(SIGINT, on_interrupt);  // Windows forgets the handler each time
#endif
}

}  // namespace

InterruptScope::InterruptScope() {
#ifdef _WIN32
  std::signal(SIGINT, on_interrupt);
#else
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a read at the prompt returns
  sigaction(SIGINT, &action, nullptr);
#endif
}

InterruptScope::~InterruptScope() {
  std::signal(SIGINT, SIG_DFL);
}

bool InterruptScope::take() {
  return interrupted.exchange(false);
}

void die_of_interrupt() {
  std::signal(SIGINT, SIG_DFL);
#ifndef _WIN32
  std::raise(SIGINT);
#endif
  std::_Exit(130);
}

}  // namespace chatglm::cli
