#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.hpp"

struct cudnnContext;  // cudnnHandle_t points to one; no cuDNN header is needed to hold it

/// cuDNN's backend API as far as attention needs it: operation graphs, and plans that run them. For the cudnn_* files
/// of this folder only.
namespace selenite::cudnn {

/// Throws Error with the expression, its place and the library's own last words, unless the status (a cudnnStatus_t) is
/// success.
void check(int status, char const* expression, char const* file, int line);
/// Around every call into cuDNN.
#define CUDNN_CHECK(expression) ::selenite::cudnn::check((expression), #expression, __FILE__, __LINE__)

/// A finished descriptor of the library's; owns it.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(void* it) : it_(it) {}
  Descriptor(Descriptor&& other) noexcept : it_(other.it_) { other.it_ = nullptr; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    void* const it = it_;
    it_ = other.it_, other.it_ = it;
    return *this;
  }
  ~Descriptor();
  void* get() const { return it_; }

 private:
  void* it_ = nullptr;
};

/// What plans are made for: the device of a handle, or (without one) properties that describe a device.
struct Target {
  cudnnContext* handle = nullptr;
  void* properties = nullptr;
};
/// A device that need not be there, by its properties in JSON.
Descriptor device_properties(std::string_view json);

using Extents = std::array<std::int64_t, 4>;
/// Extents and strides in elements.
struct Layout {
  Extents extents{}, strides{};
};
/// Packed, the last dimension fastest.
Layout packed(Extents const& extents);
/// The same elements with the last two dimensions swapped.
Layout swapped(Layout layout);

/// A tensor of the graph under construction.
struct Value {
  void* tensor = nullptr;
  Layout layout;
};

enum class Pointwise : std::uint8_t { add, subtract, multiply, divide, exponential, logarithm, identity };
enum class Reduction : std::uint8_t { sum, largest };

/// Builds an operation graph on tensors of four dimensions. What lies in memory has a number of the caller's, by which
/// it is found when the graph runs; intermediate tensors, which never reach memory, get numbers beyond. All arithmetic
/// is in fp32. The builder must outlive the graph and what is made of it.
class GraphBuilder {
 public:
  Value in_memory(std::int64_t number, DType type, Layout const& layout);
  /// An fp32 number that is given when the graph runs.
  Value scalar(std::int64_t number);
  Value intermediate(DType type, Layout const& layout);

  /// The operation on one or two inputs; an extent of 1 stands for any. The result goes to `out`.
  void pointwise(Pointwise mode, std::initializer_list<Value> inputs, Value const& out);
  /// The same into a new fp32 intermediate, laid out as the first input.
  Value pointwise(Pointwise mode, std::initializer_list<Value> inputs);
  /// x where the third index is not below the fourth, else `otherwise`.
  Value lower_triangle(Value const& x, Value const& otherwise);
  /// x where the fourth index is not below `first` (int32, of each row), else `otherwise`.
  Value from_index_on(Value const& x, Value const& first, Value const& otherwise);
  void reduce(Reduction how, Value const& x, Value const& y);
  void matmul(Value const& a, Value const& b, Value const& c);
  /// The same memory under another layout.
  void reshape(Value const& x, Value const& y);

  Descriptor finish(Target const& target);

 private:
  /// An int32 index of each element of x.
  void* index(Value const& x, std::int64_t dimension);
  /// x where a >= b, else `otherwise`.
  Value choose(Value const& x, void* a, void* b, Value const& otherwise);

  std::vector<Descriptor> parts_;  ///< tensors and what operations are described by
  std::vector<Descriptor> operations_;
  std::int64_t next_intermediate_ = 1'000'000;
};

/// What a plan may be.
struct Limits {
  std::int64_t workspace = 0;  ///< bytes of scratch
  bool deterministic = false;  ///< the same bits every time
};
struct Plan {
  Descriptor plan;
  std::int64_t workspace = 0;  ///< bytes that it needs
};
/// The best plan that the library has for a graph on the target: its heuristics' first choice that can be built and is
/// within the limits. plan.get() is null if there is none; `why` then says so.
Plan make_plan(Target const& target, Descriptor const& graph, Limits const& limits, std::string& why);
/// How many engines its heuristics propose, whether or not their plans can be built here.
std::int64_t proposals(Target const& target, Descriptor const& graph);

/// Starts a plan on the handle's stream, with the tensors of these numbers at these places.
void run(cudnnContext* handle, Plan const& plan, std::span<std::int64_t const> numbers, std::span<void* const> places,
         void* workspace);

}  // namespace selenite::cudnn
