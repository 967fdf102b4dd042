#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

struct CUevent_st;
struct CUgraph_st;

/// Streams and events of the stand-in for the runtime. Work is done when it is asked for, unless a test holds a stream:
/// then its copies and events come later, and a host that lets another stream wait for one of these waits itself. What
/// host threads have asked is remembered, in order, for those that check it.
namespace selenite::shim {

struct Step {
  enum class Kind { record, wait, host_waits_for_stream, host_waits_for_event, transfer };
  Kind kind;
  void const *stream = nullptr, *event = nullptr;
  std::size_t first = 0, count = 0;  ///< of the calls that a transfer (tests/shim/nccl.hpp) is made of
};

/// A name for a stream: there is nothing behind it.
void* new_handle();
/// This thread's steps go there from now on; null: nowhere.
void remember_steps(std::vector<Step>* steps);
void remember(Step const& step);

/// From now on what `stream` is given, after `first` copies or events, waits; but for kernels and collectives, which
/// are done at once.
void hold(void const* stream, std::size_t first = 0);
/// Does what was held back, and all that comes.
void release(void const* stream);
/// Now, or when the stream is released.
void run_on(void const* stream, std::function<void()> work);

// Capture, of one stream a thread: what the thread gives it becomes part of a graph and is not done.

enum class Capture { none, going_on, failed };
/// False: the thread captures already.
bool begin_capture(void const* stream);
/// What is under way on the stream by this thread.
Capture capture_of(void const* stream);
/// The next work of the graph: it is given the stream that the graph is launched on.
void capture(std::function<void(void const* stream)> work);
/// For what must not be called while the thread captures: fails its capture. False if it captures nothing.
bool fail_capture();
/// Null if it has failed, or there was none. Owned by the caller, until destroy().
CUgraph_st* end_capture(void const* stream);
CUgraph_st* copy(CUgraph_st const* graph);
void destroy(CUgraph_st* graph);
void launch(CUgraph_st const* graph, void const* stream);
/// Of all threads: graphs that are there, and launches so far.
int graphs_alive();
std::int64_t graph_launches();

CUevent_st* new_event();
void destroy(CUevent_st* event);
void record(CUevent_st* event, void const* stream);
bool passed(CUevent_st const* event);
void wait_for(CUevent_st const* event);
void wait_for_stream(void const* stream);
/// By the host's clock, when they passed.
double milliseconds_between(CUevent_st const* first, CUevent_st const* second);

}  // namespace selenite::shim
