// Drives an Engine from a thread of its own, so that several callers can wait for their own tokens.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "engine/engine.h"

namespace chatglm {

// The events of one request. Destroying it cancels the request. Safe to use from any thread.
class RequestStream {
 public:
  virtual ~RequestStream() = default;
  // The next event; nothing where none came within the timeout. After an event with a finish reason
  // every further call throws Error{kInvalidArgument}.
  virtual std::optional<StepOutput> next(std::chrono::milliseconds timeout) = 0;
  virtual void cancel() = 0;
};

class EngineThread {
 public:
  explicit EngineThread(std::unique_ptr<Engine> engine);
  ~EngineThread();  // cancels what is running and joins
  // Throws what Engine::submit throws.
  std::unique_ptr<RequestStream> submit(Request request);
  EngineStats stats() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace chatglm
