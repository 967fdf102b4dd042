#include <cudnn.h>
#include <utility>

#include "core/error.hpp"
#include "kernels/attention/cudnn_graph.hpp"

namespace selenite::cudnn {

void check(int status, char const* expression, char const* file, int line) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  std::array<char, 1024> words{};
  cudnnGetLastErrorString(words.data(), words.size());
  throw Error(concat("A call of cuDNN failed (", expression, " at ", file, ":", line, " says ",
                     cudnnGetErrorString(static_cast<cudnnStatus_t>(status)), ": ", words.data(),
                     "). Run again with CUDNN_LOGLEVEL_DBG=3 CUDNN_LOGDEST_DBG=stderr to see what it refuses, or with "
                     "run.attention_library = \"own\"."));
}

Descriptor::~Descriptor() {
  if (it_) cudnnBackendDestroyDescriptor(it_);
}

namespace {

Descriptor create(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t made = nullptr;
  CUDNN_CHECK(cudnnBackendCreateDescriptor(type, &made));
  return Descriptor(made);
}

template <class T>
constexpr cudnnBackendAttributeType_t type_of() = delete;
template <>
constexpr cudnnBackendAttributeType_t type_of<std::int64_t>() {
  return CUDNN_TYPE_INT64;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<bool>() {
  return CUDNN_TYPE_BOOLEAN;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<char>() {
  return CUDNN_TYPE_CHAR;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<void*>() {  // addresses of data say so (set_addresses)
  return CUDNN_TYPE_BACKEND_DESCRIPTOR;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<cudnnHandle_t>() {
  return CUDNN_TYPE_HANDLE;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<cudnnDataType_t>() {
  return CUDNN_TYPE_DATA_TYPE;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<cudnnPointwiseMode_t>() {
  return CUDNN_TYPE_POINTWISE_MODE;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<cudnnReduceTensorOp_t>() {
  return CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<cudnnBackendHeurMode_t>() {
  return CUDNN_TYPE_HEUR_MODE;
}
template <>
constexpr cudnnBackendAttributeType_t type_of<cudnnBackendNumericalNote_t>() {
  return CUDNN_TYPE_NUMERICAL_NOTE;
}

template <class T>
void set(Descriptor const& d, cudnnBackendAttributeName_t name, std::span<T const> values) {
  CUDNN_CHECK(cudnnBackendSetAttribute(d.get(), name, type_of<T>(), std::ssize(values), values.data()));
}
template <class T>
void set(Descriptor const& d, cudnnBackendAttributeName_t name, T const& value) {
  set(d, name, std::span<T const>(&value, 1));
}
void set(Descriptor const& d, cudnnBackendAttributeName_t name, Descriptor const& value) { set(d, name, value.get()); }
void set_addresses(Descriptor const& d, cudnnBackendAttributeName_t name, std::span<void* const> values) {
  CUDNN_CHECK(cudnnBackendSetAttribute(d.get(), name, CUDNN_TYPE_VOID_PTR, std::ssize(values), values.data()));
}
/// At most values.size() elements; how many there are in all. Elements that are descriptors are filled in place.
template <class T>
std::int64_t get(Descriptor const& d, cudnnBackendAttributeName_t name, std::span<T> values) {
  std::int64_t count = 0;
  CUDNN_CHECK(cudnnBackendGetAttribute(d.get(), name, type_of<T>(), std::ssize(values), &count,
                                       values.empty() ? nullptr : static_cast<void*>(values.data())));
  return count;
}
void finalize(Descriptor const& d) { CUDNN_CHECK(cudnnBackendFinalize(d.get())); }
/// False where the library can't do what was described, as opposed to: it was described wrongly.
bool finalize_if_supported(Descriptor const& d) {
  cudnnStatus_t const status = cudnnBackendFinalize(d.get());
  if (status >= CUDNN_STATUS_NOT_SUPPORTED && status < CUDNN_STATUS_INTERNAL_ERROR) return false;
  check(status, "cudnnBackendFinalize", __FILE__, __LINE__);
  return true;
}

cudnnDataType_t data_type(DType type) {
  switch (type) {
    case DType::fp32:
      return CUDNN_DATA_FLOAT;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::fp16:
      return CUDNN_DATA_HALF;
    case DType::int32:
      return CUDNN_DATA_INT32;
    default:
      throw Error(concat("There is no attention by cuDNN in ", name(type),
                         " (there are bf16 and fp16). Use run.attention_library = \"own\"."));
  }
}
cudnnPointwiseMode_t mode_of(Pointwise mode) {
  constexpr std::array modes{CUDNN_POINTWISE_ADD, CUDNN_POINTWISE_SUB, CUDNN_POINTWISE_MUL,     CUDNN_POINTWISE_DIV,
                             CUDNN_POINTWISE_EXP, CUDNN_POINTWISE_LOG, CUDNN_POINTWISE_IDENTITY};
  return modes.at(static_cast<std::size_t>(mode));
}

Descriptor make_tensor(std::int64_t number, cudnnDataType_t type, Layout const& layout, bool is_virtual,
                       bool by_value = false) {
  constexpr std::int64_t alignment = 16;  // bytes
  Descriptor x = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set(x, CUDNN_ATTR_TENSOR_UNIQUE_ID, number), set(x, CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  set(x, CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<std::int64_t const>(layout.extents));
  set(x, CUDNN_ATTR_TENSOR_STRIDES, std::span<std::int64_t const>(layout.strides));
  set(x, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  if (is_virtual) set(x, CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  if (by_value) set(x, CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  finalize(x);
  return x;
}

Descriptor make_pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t math = CUDNN_DATA_FLOAT, std::int64_t axis = -1) {
  Descriptor how = create(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  set(how, CUDNN_ATTR_POINTWISE_MODE, mode), set(how, CUDNN_ATTR_POINTWISE_MATH_PREC, math);
  if (axis >= 0) set(how, CUDNN_ATTR_POINTWISE_AXIS, axis);
  finalize(how);
  return how;
}
/// An operation and its tensors.
Descriptor make_operation(cudnnBackendDescriptorType_t type,
                          std::initializer_list<std::pair<cudnnBackendAttributeName_t, void*>> parts) {
  Descriptor operation = create(type);
  for (auto const& [name, part] : parts)
    if (part) set(operation, name, part);
  finalize(operation);
  return operation;
}
Descriptor make_pointwise_operation(Descriptor const& how, void* x, void* b, void* t, void* y) {
  return make_operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                        {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how.get()},
                         {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
                         {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b},
                         {CUDNN_ATTR_OPERATION_POINTWISE_TDESC, t},
                         {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}});
}

/// What an engine configuration's engine says of itself.
bool gives_same_bits(Descriptor const& configuration) {
  Descriptor const engine = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  void* filled = engine.get();
  get(configuration, CUDNN_ATTR_ENGINECFG_ENGINE, std::span<void*>(&filled, 1));
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  std::int64_t const count =
      get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, std::span<cudnnBackendNumericalNote_t>(notes));
  for (std::int64_t i = 0; i < count && i < std::ssize(notes); ++i)
    if (notes[static_cast<std::size_t>(i)] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
  return true;
}

/// A graph's engines by the library's heuristics.
class Heuristics {
 public:
  Heuristics(Target const& target, Descriptor const& graph, cudnnBackendHeurMode_t mode)
      : it_(create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)) {
    set(it_, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph), set(it_, CUDNN_ATTR_ENGINEHEUR_MODE, mode);
    if (target.properties) set(it_, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target.properties);
    if (finalize_if_supported(it_)) count_ = get(it_, CUDNN_ATTR_ENGINEHEUR_RESULTS, std::span<void*>());
  }
  std::int64_t count() const { return count_; }
  /// Configurations of those that can be built here, best first.
  std::vector<Descriptor> configurations() const {
    std::vector<Descriptor> found;
    std::vector<void*> to_fill;
    for (std::int64_t i = 0; i < count_; ++i)
      to_fill.push_back(found.emplace_back(create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)).get());
    if (count_ == 0) return found;
    auto const usable = static_cast<std::size_t>(get(it_, CUDNN_ATTR_ENGINEHEUR_RESULTS, std::span<void*>(to_fill)));
    while (found.size() > usable) found.pop_back();
    return found;
  }

 private:
  Descriptor it_;
  std::int64_t count_ = 0;
};

}  // namespace

Descriptor device_properties(std::string_view json) {
  Descriptor properties = create(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  set(properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<char const>(json));
  finalize(properties);
  return properties;
}

Layout packed(Extents const& extents) {
  Layout layout{.extents = extents};
  std::int64_t stride = 1;
  for (std::size_t i = extents.size(); i-- > 0;) layout.strides[i] = stride, stride *= extents[i];
  return layout;
}

Layout swapped(Layout layout) {
  std::swap(layout.extents[2], layout.extents[3]), std::swap(layout.strides[2], layout.strides[3]);
  return layout;
}

Value GraphBuilder::in_memory(std::int64_t number, DType type, Layout const& layout) {
  return {parts_.emplace_back(make_tensor(number, data_type(type), layout, false)).get(), layout};
}
Value GraphBuilder::scalar(std::int64_t number) {
  Layout const one = packed({1, 1, 1, 1});
  return {parts_.emplace_back(make_tensor(number, CUDNN_DATA_FLOAT, one, false, true)).get(), one};
}
Value GraphBuilder::intermediate(DType type, Layout const& layout) {
  return {parts_.emplace_back(make_tensor(next_intermediate_++, data_type(type), layout, true)).get(), layout};
}

void GraphBuilder::pointwise(Pointwise mode, std::initializer_list<Value> inputs, Value const& out) {
  Descriptor const& how = parts_.emplace_back(make_pointwise(mode_of(mode)));
  void* const second = inputs.size() > 1 ? inputs.begin()[1].tensor : nullptr;
  operations_.push_back(make_pointwise_operation(how, inputs.begin()->tensor, second, nullptr, out.tensor));
}

Value GraphBuilder::pointwise(Pointwise mode, std::initializer_list<Value> inputs) {
  Value const out = intermediate(DType::fp32, inputs.begin()->layout);
  pointwise(mode, inputs, out);
  return out;
}

void* GraphBuilder::index(Value const& x, std::int64_t dimension) {
  void* const to = parts_.emplace_back(make_tensor(next_intermediate_++, CUDNN_DATA_INT32, x.layout, true)).get();
  Descriptor const& how = parts_.emplace_back(make_pointwise(CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, dimension));
  operations_.push_back(make_pointwise_operation(how, x.tensor, nullptr, nullptr, to));
  return to;
}

Value GraphBuilder::choose(Value const& x, void* a, void* b, Value const& otherwise) {
  void* const inside = parts_.emplace_back(make_tensor(next_intermediate_++, CUDNN_DATA_BOOLEAN, x.layout, true)).get();
  Descriptor const& compare = parts_.emplace_back(make_pointwise(CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN));
  operations_.push_back(make_pointwise_operation(compare, a, b, nullptr, inside));
  Value const out = intermediate(DType::fp32, x.layout);
  Descriptor const& select = parts_.emplace_back(make_pointwise(CUDNN_POINTWISE_BINARY_SELECT));
  operations_.push_back(make_pointwise_operation(select, x.tensor, otherwise.tensor, inside, out.tensor));
  return out;
}

Value GraphBuilder::lower_triangle(Value const& x, Value const& otherwise) {
  void *const row = index(x, 2), *const column = index(x, 3);
  return choose(x, row, column, otherwise);
}
Value GraphBuilder::from_index_on(Value const& x, Value const& first, Value const& otherwise) {
  return choose(x, index(x, 3), first.tensor, otherwise);
}

void GraphBuilder::reduce(Reduction reduction, Value const& x, Value const& y) {
  Descriptor const& how = parts_.emplace_back(create(CUDNN_BACKEND_REDUCTION_DESCRIPTOR));
  set(how, CUDNN_ATTR_REDUCTION_OPERATOR,
      reduction == Reduction::sum ? CUDNN_REDUCE_TENSOR_ADD : CUDNN_REDUCE_TENSOR_MAX);
  set(how, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  finalize(how);
  operations_.push_back(
      make_operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_REDUCTION_DESC, how.get()},
                                                                    {CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x.tensor},
                                                                    {CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y.tensor}}));
}

void GraphBuilder::matmul(Value const& a, Value const& b, Value const& c) {
  Descriptor const& how = parts_.emplace_back(create(CUDNN_BACKEND_MATMUL_DESCRIPTOR));
  set(how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  finalize(how);
  operations_.push_back(
      make_operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_MATMUL_DESC, how.get()},
                                                                 {CUDNN_ATTR_OPERATION_MATMUL_ADESC, a.tensor},
                                                                 {CUDNN_ATTR_OPERATION_MATMUL_BDESC, b.tensor},
                                                                 {CUDNN_ATTR_OPERATION_MATMUL_CDESC, c.tensor}}));
}

void GraphBuilder::reshape(Value const& x, Value const& y) {
  operations_.push_back(
      make_operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
                     {{CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x.tensor}, {CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y.tensor}}));
}

Descriptor GraphBuilder::finish(Target const& target) {
  std::vector<void*> operations;
  for (Descriptor const& operation : operations_) operations.push_back(operation.get());
  Descriptor graph = create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<void* const>(operations));
  if (target.handle) set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, target.handle);
  finalize(graph);
  return graph;
}

std::int64_t proposals(Target const& target, Descriptor const& graph) {
  return Heuristics(target, graph, CUDNN_HEUR_MODE_A).count();
}

Plan make_plan(Target const& target, Descriptor const& graph, Limits const& limits, std::string& why) {
  why = "it has no engine for this shape on this device";
  for (cudnnBackendHeurMode_t const mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor const& configuration : Heuristics(target, graph, mode).configurations()) {
      if (limits.deterministic && !gives_same_bits(configuration)) {
        why = "its engines for this shape do not give the same bits every time";
        continue;
      }
      Plan made{.plan = create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)};
      set(made.plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (target.handle) set(made.plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
      if (target.properties) set(made.plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, target.properties);
      if (!finalize_if_supported(made.plan)) continue;
      get(made.plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, std::span<std::int64_t>(&made.workspace, 1));
      if (made.workspace <= limits.workspace) return made;
      why = concat("its engine needs ", made.workspace, " bytes of scratch where ", limits.workspace, " were planned");
    }
  }
  return {};
}

void run(cudnnContext* handle, Plan const& plan, std::span<std::int64_t const> numbers, std::span<void* const> places,
         void* workspace) {
  Descriptor const pack = create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, numbers);
  set_addresses(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, places);
  set_addresses(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, std::span<void* const>(&workspace, 1));
  finalize(pack);
  CUDNN_CHECK(cudnnBackendExecute(handle, plan.plan.get(), pack.get()));
}

}  // namespace selenite::cudnn
