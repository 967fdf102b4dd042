#pragma once
#include <array>
#include <cudnn.h>
#include <span>
#include <utility>
#include <vector>

#include "core/dtype.hpp"

/// cuDNN's backend API as far as attention needs it: descriptors that check and free themselves, and a builder of
/// operation graphs. For the cudnn_*.cpp files of this folder only.
namespace selenite::cudnn {

/// Throws Error with the expression, its place and the library's own last words, unless the status is success.
void check(cudnnStatus_t status, char const* expression, char const* file, int line);
/// Around every call into cuDNN.
#define CUDNN_CHECK(expression) ::selenite::cudnn::check((expression), #expression, __FILE__, __LINE__)
/// The library can't do it here, as opposed to: it was asked wrongly.
constexpr bool not_supported(cudnnStatus_t status) {
  return status >= CUDNN_STATUS_NOT_SUPPORTED && status < CUDNN_STATUS_INTERNAL_ERROR;
}

template <class T>
struct AttributeType;
#define SELENITE_CUDNN_ATTRIBUTE(T, type)                      \
  template <>                                                  \
  struct AttributeType<T> {                                    \
    static constexpr cudnnBackendAttributeType_t value = type; \
  }
SELENITE_CUDNN_ATTRIBUTE(std::int64_t, CUDNN_TYPE_INT64);
SELENITE_CUDNN_ATTRIBUTE(bool, CUDNN_TYPE_BOOLEAN);
SELENITE_CUDNN_ATTRIBUTE(char, CUDNN_TYPE_CHAR);
SELENITE_CUDNN_ATTRIBUTE(cudnnHandle_t, CUDNN_TYPE_HANDLE);
SELENITE_CUDNN_ATTRIBUTE(cudnnDataType_t, CUDNN_TYPE_DATA_TYPE);
SELENITE_CUDNN_ATTRIBUTE(cudnnPointwiseMode_t, CUDNN_TYPE_POINTWISE_MODE);
SELENITE_CUDNN_ATTRIBUTE(cudnnReduceTensorOp_t, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE);
SELENITE_CUDNN_ATTRIBUTE(cudnnBackendHeurMode_t, CUDNN_TYPE_HEUR_MODE);
SELENITE_CUDNN_ATTRIBUTE(cudnnBackendNumericalNote_t, CUDNN_TYPE_NUMERICAL_NOTE);
SELENITE_CUDNN_ATTRIBUTE(cudnnBackendDescriptor_t, CUDNN_TYPE_BACKEND_DESCRIPTOR);  // a void*
#undef SELENITE_CUDNN_ATTRIBUTE

/// A backend descriptor; owns it.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type) { CUDNN_CHECK(cudnnBackendCreateDescriptor(type, &it_)); }
  Descriptor(Descriptor&& other) noexcept : it_(std::exchange(other.it_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(it_, other.it_);
    return *this;
  }
  ~Descriptor() {
    if (it_) cudnnBackendDestroyDescriptor(it_);
  }

  cudnnBackendDescriptor_t get() const { return it_; }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, std::span<T const> values) {
    CUDNN_CHECK(cudnnBackendSetAttribute(it_, name, AttributeType<T>::value, std::ssize(values), values.data()));
    return *this;
  }
  template <class T>
  Descriptor& set(cudnnBackendAttributeName_t name, T const& value) {
    return set(name, std::span<T const>(&value, 1));
  }
  Descriptor& set(cudnnBackendAttributeName_t name, Descriptor const& value) { return set(name, value.it_); }
  /// Addresses of data, whose type is that of descriptors.
  Descriptor& set_addresses(cudnnBackendAttributeName_t name, std::span<void* const> values) {
    CUDNN_CHECK(cudnnBackendSetAttribute(it_, name, CUDNN_TYPE_VOID_PTR, std::ssize(values), values.data()));
    return *this;
  }
  void finalize() { CUDNN_CHECK(cudnnBackendFinalize(it_)); }
  /// False where the library does not support what was described.
  bool finalize_if_supported();

  /// At most values.size() elements; how many there are in all. Elements that are descriptors are filled in place.
  template <class T>
  std::int64_t get(cudnnBackendAttributeName_t name, std::span<T> values) const {
    std::int64_t count = 0;
    CUDNN_CHECK(cudnnBackendGetAttribute(it_, name, AttributeType<T>::value, std::ssize(values), &count,
                                         values.empty() ? nullptr : static_cast<void*>(values.data())));
    return count;
  }
  std::int64_t get_integer(cudnnBackendAttributeName_t name) const {
    std::int64_t value = 0;
    get(name, std::span<std::int64_t>(&value, 1));
    return value;
  }

 private:
  cudnnBackendDescriptor_t it_ = nullptr;
};

/// What plans are made for: the device of a handle, or (without one) properties that describe a device.
struct Target {
  cudnnHandle_t handle = nullptr;
  cudnnBackendDescriptor_t properties = nullptr;
};

cudnnDataType_t data_type(DType type);

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
  cudnnBackendDescriptor_t tensor = nullptr;
  Layout layout;
};

/// Builds an operation graph on tensors of four dimensions. What lies in memory has a number of the caller's, by which
/// it is found when the graph runs; virtual tensors, which never reach memory, get numbers beyond. All arithmetic is in
/// fp32.
class GraphBuilder {
 public:
  Value in_memory(std::int64_t number, cudnnDataType_t type, Layout const& layout);
  /// An fp32 number that is given when the graph runs.
  Value scalar(std::int64_t number);
  Value intermediate(cudnnDataType_t type, Layout const& layout);

  /// The pointwise operation on one, two or three inputs; the result goes to `out`.
  void pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> inputs, Value const& out,
                 cudnnDataType_t math = CUDNN_DATA_FLOAT);
  /// The same into a new fp32 intermediate, laid out as the first input.
  Value pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> inputs);
  /// int32 index along a dimension.
  Value index(Value const& of, std::int64_t dimension);
  void reduce(cudnnReduceTensorOp_t op, Value const& x, Value const& y);
  void matmul(Value const& a, Value const& b, Value const& c);
  void reshape(Value const& x, Value const& y);

  /// The finished graph. The builder must outlive it.
  Descriptor finish(Target const& target);

 private:
  Value tensor(std::int64_t number, cudnnDataType_t type, Layout const& layout, bool is_virtual, bool by_value);
  Descriptor& add(cudnnBackendDescriptorType_t type) { return parts_.emplace_back(type); }

  std::vector<Descriptor> parts_;  ///< tensors and what operations are described by
  std::vector<Descriptor> operations_;
  std::int64_t next_virtual_ = 1'000'000;
};

}  // namespace selenite::cudnn
