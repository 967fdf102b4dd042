#include "tests/shim/fiber.hpp"

#include <atomic>
#include <cstdint>
#include <sys/mman.h>

#include "core/error.hpp"

// AddressSanitizer must know which stack is in use.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SHIM_NO_SANITIZE __attribute__((noinline, no_sanitize("address", "undefined")))
#else
#define SHIM_NO_SANITIZE __attribute__((noinline))
#define ASAN_UNPOISON_MEMORY_REGION(begin, size) static_cast<void>(0)
static void __sanitizer_start_switch_fiber(void**, void const*, std::size_t) {}
static void __sanitizer_finish_switch_fiber(void*, void const**, std::size_t*) {}
#endif

#if defined(__x86_64__)
// Saves the registers that a call preserves and the stack pointer, and goes on where the other stack was left. (A
// switch by swapcontext costs two system calls, and a reduction switches ten times a thread.)
asm(R"(
.pushsection .text
.type selenite_shim_switch, @function
selenite_shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size selenite_shim_switch, .-selenite_shim_switch
.popsection
)");
extern "C" void selenite_shim_switch(void** save, void** load) asm("selenite_shim_switch");
#else
#include <ucontext.h>
#endif

namespace selenite::shim {
namespace {
constexpr std::size_t stack_bytes = 256 << 10, page = 4096;
}

#if defined(__x86_64__)
/// Where a flow was left.
class Place {
 public:
  /// A new flow on a stack that calls enter(argument) once switched to.
  void begin(void* stack, std::size_t bytes, void (*enter)(void*), void* argument) {
    auto** const top = reinterpret_cast<void**>(static_cast<std::byte*>(stack) + bytes);
    void** p = top - 16;  // rsp % 16 == 8 at the first instruction, as after a call
    p[7] = nullptr;       // the return address of the first frame: none
    p[6] = reinterpret_cast<void*>(&start);
    p[5] = nullptr;                         // rbp
    p[4] = argument;                        // rbx
    p[3] = reinterpret_cast<void*>(enter);  // r12
    p[2] = p[1] = p[0] = nullptr;
    stack_pointer_ = p;
    enter_ = enter, argument_ = argument;
  }
  void go_to(Place& other) {
    entered = &other;
    selenite_shim_switch(&stack_pointer_, &other.stack_pointer_);
  }

 private:
  SHIM_NO_SANITIZE static void start() { entered->enter_(entered->argument_); }
  static thread_local Place* entered;
  void* stack_pointer_ = nullptr;
  void (*enter_)(void*) = nullptr;
  void* argument_ = nullptr;
};
thread_local Place* Place::entered = nullptr;
#else
class Place {
 public:
  void begin(void* stack, std::size_t bytes, void (*enter)(void*), void* argument) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack, context_.uc_stack.ss_size = bytes, context_.uc_link = nullptr;
    enter_ = enter, argument_ = argument;
    makecontext(&context_, &start, 0);
  }
  void go_to(Place& other) {
    entered = &other;
    swapcontext(&context_, &other.context_);
  }

 private:
  SHIM_NO_SANITIZE static void start() { entered->enter_(entered->argument_); }
  static thread_local Place* entered;
  ucontext_t context_{};
  void (*enter_)(void*) = nullptr;
  void* argument_ = nullptr;
};
thread_local Place* Place::entered = nullptr;
#endif

struct Fiber::Context {
  std::function<void()> body;
  void* mapped = nullptr;
  Place here, resumer;
  void* fake_stack = nullptr;  // AddressSanitizer's, of the flow that is not running
  void const* resumer_stack = nullptr;
  std::size_t resumer_bytes = 0;

  void* stack() const { return static_cast<std::byte*>(mapped) + page; }
  /// To the resumer, and back here when resumed.
  void leave() {
    void* mine = nullptr;
    __sanitizer_start_switch_fiber(&mine, resumer_stack, resumer_bytes);
    here.go_to(resumer);
    __sanitizer_finish_switch_fiber(mine, &resumer_stack, &resumer_bytes);
  }
};

SHIM_NO_SANITIZE void Fiber::enter(Context* context) {
  __sanitizer_finish_switch_fiber(nullptr, &context->resumer_stack, &context->resumer_bytes);
  for (;;) {
    context->body();
    context->leave();
  }
}

Fiber::Fiber(std::function<void()> body) : context_(new Context) {
  context_->body = std::move(body);
  // a page without access below the stack: running over its end is a fault, not a wrong result
  context_->mapped = mmap(nullptr, stack_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  validate(context_->mapped != MAP_FAILED && mprotect(context_->stack(), stack_bytes, PROT_READ | PROT_WRITE) == 0,
           "There is no memory for the stack of a fiber (of ", stack_bytes, " bytes). Run fewer tests at once.");
  // tops at different places in their pages: else all fibers share a few lines of the first-level cache
  static std::atomic<std::size_t> fibers = 0;
  context_->here.begin(
      context_->stack(), stack_bytes - fibers++ % 32 * 128, [](void* c) { enter(static_cast<Context*>(c)); },
      context_.get());
}
Fiber::~Fiber() {
  ASAN_UNPOISON_MEMORY_REGION(context_->stack(), stack_bytes);  // a fiber left in the middle has frames there
  munmap(context_->mapped, stack_bytes + page);
}

void Fiber::resume() {
  void* mine = nullptr;
  __sanitizer_start_switch_fiber(&mine, context_->stack(), stack_bytes);
  context_->resumer.go_to(context_->here);
  __sanitizer_finish_switch_fiber(mine, nullptr, nullptr);
}
void Fiber::yield() { context_->leave(); }

}  // namespace selenite::shim
