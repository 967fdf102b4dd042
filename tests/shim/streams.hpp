#pragma once
#include <cstddef>
#include <vector>

/// What host threads have asked of streams and events, in order, for those that check it.
namespace selenite::shim {

struct Step {
  enum class Kind { record, wait, host_waits_for_stream, host_waits_for_event, transfer };
  Kind kind;
  void const *stream = nullptr, *event = nullptr;
  std::size_t first = 0, count = 0;  ///< of the calls that a transfer (tests/shim/nccl.hpp) is made of
};

/// A name for a stream or an event: there is nothing behind it.
void* new_handle();
/// This thread's steps go there from now on; null: nowhere.
void remember_steps(std::vector<Step>* steps);
void remember(Step const& step);

}  // namespace selenite::shim
