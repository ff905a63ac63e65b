// Drives an Engine from a thread of its own, so that several callers can wait for their own tokens.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "engine/engine.h"

namespace chatglm {

// The events of one request. Destroying it cancels the request. Safe to use from any thread, also
// after the EngineThread is gone (the request was cancelled then).
class RequestStream {
 public:
  virtual ~RequestStream() = default;
  // The next event; nothing where none came within the timeout. After an event with a finish reason
  // every further call throws Error{kInvalidArgument}.
  virtual std::optional<StepOutput> next(std::chrono::milliseconds timeout) = 0;
  // Takes effect at the next step and is answered by an event; does not wait for it.
  virtual void cancel() = 0;
};

class EngineThread {
 public:
  explicit EngineThread(std::unique_ptr<Engine> engine);
  // Cancels what is running, waits for the step that is being computed, and joins.
  ~EngineThread();
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // Throws what Engine::submit throws. Does not wait for the step that is being computed.
  std::unique_ptr<RequestStream> submit(Request request);
  // As of the end of the last step.
  EngineStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chatglm
