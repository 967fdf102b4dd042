#pragma once

namespace selenite {

/// Takes SIGTERM, SIGUSR1 and SIGINT while it lives: they set a flag, which training looks at before the first step and
/// after every one. A second SIGINT ends the process at once, as users expect. One at a time.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(SignalGuard const&) = delete;
  SignalGuard& operator=(SignalGuard const&) = delete;
  /// The number of the last signal that came, or 0.
  static int received();
};

}  // namespace selenite
