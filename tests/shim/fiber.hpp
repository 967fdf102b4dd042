#pragma once
#include <cstddef>
#include <functional>
#include <memory>

namespace selenite::shim {

/// A flow of control with a stack of its own, on the OS thread that made it. It runs `body` again each time after that
/// has returned.
class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(Fiber const&) = delete;
  Fiber& operator=(Fiber const&) = delete;

  /// Runs it until it calls yield() or body returns; called by the thread's own flow, not by a fiber.
  void resume();
  /// Back to where resume() was called; called by the running fiber.
  void yield();

 private:
  struct Context;
  static void enter(Context* context);
  std::unique_ptr<Context> context_;
};

}  // namespace selenite::shim
