#include "core/error.hpp"
#include "kernels/attention/cudnn_graph.hpp"

namespace selenite::cudnn {

void check(cudnnStatus_t status, char const* expression, char const* file, int line) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  std::array<char, 1024> words{};
  cudnnGetLastErrorString(words.data(), words.size());
  throw Error(concat("A call of cuDNN failed (", expression, " at ", file, ":", line, " says ",
                     cudnnGetErrorString(status), ": ", words.data(),
                     "). Run again with CUDNN_LOGLEVEL_DBG=3 CUDNN_LOGDEST_DBG=stderr to see what it refuses, or with "
                     "run.attention_library = \"own\"."));
}

bool Descriptor::finalize_if_supported() {
  cudnnStatus_t const status = cudnnBackendFinalize(it_);
  if (not_supported(status)) return false;
  check(status, "cudnnBackendFinalize(it_)", __FILE__, __LINE__);
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
    default:
      throw Error(concat("There is no attention by cuDNN in ", name(type),
                         " (there are bf16 and fp16). Use run.attention_library = \"own\"."));
  }
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

Value GraphBuilder::tensor(std::int64_t number, cudnnDataType_t type, Layout const& layout, bool is_virtual,
                           bool by_value) {
  constexpr std::int64_t alignment = 16;  // bytes
  Descriptor& x = add(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  x.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, number).set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  x.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<std::int64_t const>(layout.extents));
  x.set(CUDNN_ATTR_TENSOR_STRIDES, std::span<std::int64_t const>(layout.strides));
  x.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  if (is_virtual) x.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  if (by_value) x.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  x.finalize();
  return {x.get(), layout};
}

Value GraphBuilder::in_memory(std::int64_t number, cudnnDataType_t type, Layout const& layout) {
  return tensor(number, type, layout, false, false);
}
Value GraphBuilder::scalar(std::int64_t number) {
  return tensor(number, CUDNN_DATA_FLOAT, packed({1, 1, 1, 1}), false, true);
}
Value GraphBuilder::intermediate(cudnnDataType_t type, Layout const& layout) {
  return tensor(next_virtual_++, type, layout, true, false);
}

void GraphBuilder::pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> inputs, Value const& out,
                             cudnnDataType_t math) {
  constexpr std::array names{CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
                             CUDNN_ATTR_OPERATION_POINTWISE_TDESC};
  Descriptor& how = add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, mode).set(CUDNN_ATTR_POINTWISE_MATH_PREC, math).finalize();
  Descriptor& operation = operations_.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  std::size_t i = 0;
  for (Value const& input : inputs) operation.set(names.at(i++), input.tensor);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out.tensor).finalize();
}

Value GraphBuilder::pointwise(cudnnPointwiseMode_t mode, std::initializer_list<Value> inputs) {
  Value const out = intermediate(CUDNN_DATA_FLOAT, inputs.begin()->layout);
  pointwise(mode, inputs, out);
  return out;
}

Value GraphBuilder::index(Value const& of, std::int64_t dimension) {
  Value const out = intermediate(CUDNN_DATA_INT32, of.layout);
  Descriptor& how = add(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_GEN_INDEX)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT)
      .set(CUDNN_ATTR_POINTWISE_AXIS, dimension)
      .finalize();
  operations_.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, of.tensor)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, out.tensor)
      .finalize();
  return out;
}

void GraphBuilder::reduce(cudnnReduceTensorOp_t op, Value const& x, Value const& y) {
  Descriptor& how = add(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_REDUCTION_OPERATOR, op).set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT).finalize();
  operations_.emplace_back(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x.tensor)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y.tensor)
      .finalize();
}

void GraphBuilder::matmul(Value const& a, Value const& b, Value const& c) {
  Descriptor& how = add(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT).finalize();
  operations_.emplace_back(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)
      .set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how)
      .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a.tensor)
      .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b.tensor)
      .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, c.tensor)
      .finalize();
}

void GraphBuilder::reshape(Value const& x, Value const& y) {
  operations_.emplace_back(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR)
      .set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x.tensor)
      .set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y.tensor)
      .finalize();
}

Descriptor GraphBuilder::finish(Target const& target) {
  std::vector<cudnnBackendDescriptor_t> operations;
  for (Descriptor const& operation : operations_) operations.push_back(operation.get());
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<cudnnBackendDescriptor_t const>(operations));
  if (target.handle) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, target.handle);
  graph.finalize();
  return graph;
}

}  // namespace selenite::cudnn
