#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "core/dtype.hpp"
#include "core/error.hpp"
#include "tests/shim/cudnn.hpp"

namespace selenite::shim {
namespace {

using Extents = std::array<std::int64_t, 4>;

std::int64_t size_of(cudnnDataType_t type) {
  return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_INT32 ? 4 : type == CUDNN_DATA_BOOLEAN ? 1 : 2;
}
std::int64_t offset(Extents const& strides, Extents const& at) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < at.size(); ++i) sum += strides[i] * at[i];
  return sum;
}
std::int64_t last_offset(DnnTensor const& x) {
  Extents last = x.extents;
  for (std::int64_t& e : last) --e;
  return offset(x.strides, last);
}

/// Elements of one tensor while a graph runs: of virtual ones in a buffer, of others in memory.
struct Elements {
  DnnTensor const* tensor = nullptr;
  std::vector<double> buffer;
  void* memory = nullptr;

  double get(std::int64_t at) const {
    if (!memory) return buffer[static_cast<std::size_t>(at)];
    switch (tensor->type) {
      case CUDNN_DATA_HALF:
        return static_cast<float>(static_cast<fp16 const*>(memory)[at]);
      case CUDNN_DATA_BFLOAT16:
        return static_cast<float>(static_cast<bf16 const*>(memory)[at]);
      case CUDNN_DATA_INT32:
        return static_cast<std::int32_t const*>(memory)[at];
      default:
        return static_cast<float const*>(memory)[at];
    }
  }
  /// Rounded to the tensor's type, in memory or not.
  void set(std::int64_t at, double value) {
    auto const x = static_cast<float>(value);
    bool const half = tensor->type == CUDNN_DATA_HALF, brain = tensor->type == CUDNN_DATA_BFLOAT16;
    if (!memory)
      buffer[static_cast<std::size_t>(at)] = half    ? static_cast<float>(fp16(x))
                                             : brain ? static_cast<float>(bf16(x))
                                                     : static_cast<double>(x);
    else if (half)
      static_cast<fp16*>(memory)[at] = fp16(x);
    else if (brain)
      static_cast<bf16*>(memory)[at] = bf16(x);
    else
      static_cast<float*>(memory)[at] = x;
  }
  /// An extent of 1 stands for any index.
  double at(Extents index) const {
    for (std::size_t i = 0; i < index.size(); ++i)
      if (tensor->extents[i] == 1) index[i] = 0;
    return get(offset(tensor->strides, index));
  }
};

template <class Body>
void for_each(Extents const& extents, Body&& body) {
  Extents at{};
  for (at[0] = 0; at[0] < extents[0]; ++at[0])
    for (at[1] = 0; at[1] < extents[1]; ++at[1])
      for (at[2] = 0; at[2] < extents[2]; ++at[2])
        for (at[3] = 0; at[3] < extents[3]; ++at[3]) body(at);
}

double computed(DnnOperation const& op, Extents const& at, std::array<double, 3> const& x) {
  switch (op.mode) {
    case CUDNN_POINTWISE_ADD:
      return x[0] + x[1];
    case CUDNN_POINTWISE_MUL:
      return x[0] * x[1];
    case CUDNN_POINTWISE_DIV:
      return x[0] / x[1];
    case CUDNN_POINTWISE_SUB:
      return x[0] - x[1];
    case CUDNN_POINTWISE_EXP:
      return std::exp(x[0]);
    case CUDNN_POINTWISE_LOG:
      return std::log(x[0]);
    case CUDNN_POINTWISE_IDENTITY:
      return x[0];
    case CUDNN_POINTWISE_CMP_GE:
      return x[0] >= x[1] ? 1 : 0;
    case CUDNN_POINTWISE_GEN_INDEX:
      return static_cast<double>(at[static_cast<std::size_t>(op.axis)]);
    case CUDNN_POINTWISE_BINARY_SELECT:
      return x[2] != 0 ? x[0] : x[1];
  }
  return std::numeric_limits<double>::quiet_NaN();
}

void pointwise(DnnOperation const& op, std::vector<Elements const*> const& in, Elements& out) {
  for_each(out.tensor->extents, [&](Extents const& at) {
    std::array<double, 3> x{};
    for (std::size_t i = 0; i < in.size(); ++i) x[i] = op.mode == CUDNN_POINTWISE_GEN_INDEX ? 0 : in[i]->at(at);
    out.set(offset(out.tensor->strides, at), computed(op, at, x));
  });
}

/// Heads of b that serve several heads of a: as many each.
void matmul(Elements const& a, Elements const& b, Elements& c) {
  std::int64_t const k = a.tensor->extents[3], group = a.tensor->extents[1] / b.tensor->extents[1];
  std::vector<double> row(static_cast<std::size_t>(k)), column(row.size());
  for_each(c.tensor->extents, [&](Extents const& at) {
    double sum = 0;
    for (std::int64_t i = 0; i < k; ++i)
      sum += a.get(offset(a.tensor->strides, {at[0], at[1], at[2], i})) *
             b.get(offset(b.tensor->strides, {at[0], at[1] / group, i, at[3]}));
    c.set(offset(c.tensor->strides, at), sum);
  });
}

/// Each element of y is made of the equally many elements of x next to each other along every dimension.
void reduce(DnnOperation const& op, Elements const& x, Elements& y) {
  Extents part{};
  for (std::size_t i = 0; i < part.size(); ++i) part[i] = x.tensor->extents[i] / y.tensor->extents[i];
  for_each(y.tensor->extents, [&](Extents const& at) {
    bool const add = op.reduction == CUDNN_REDUCE_TENSOR_ADD;
    double value = add ? 0 : -std::numeric_limits<double>::infinity();
    for_each(part, [&](Extents within) {
      for (std::size_t i = 0; i < within.size(); ++i) within[i] += at[i] * part[i];
      double const one = x.get(offset(x.tensor->strides, within));
      value = add ? value + one : std::max(value, one);
    });
    y.set(offset(y.tensor->strides, at), value);
  });
}

/// The same elements, found by other strides.
void reshape(Elements const& x, Elements& y) {
  for (std::int64_t i = 0; i <= last_offset(*y.tensor); ++i) y.set(i, x.get(i));
}

std::size_t inputs_of(cudnnPointwiseMode_t mode) {
  switch (mode) {
    case CUDNN_POINTWISE_EXP:
    case CUDNN_POINTWISE_LOG:
    case CUDNN_POINTWISE_IDENTITY:
    case CUDNN_POINTWISE_GEN_INDEX:
      return 1;
    case CUDNN_POINTWISE_BINARY_SELECT:
      return 3;
    default:
      return 2;
  }
}

std::string wrong_with_pointwise(DnnOperation const& op, std::vector<DnnTensor const*> const& in,
                                 DnnTensor const& out) {
  if (op.inputs.size() != inputs_of(op.mode)) return concat("a pointwise operation on ", op.inputs.size(), " tensors");
  for (DnnTensor const* x : in)
    for (std::size_t i = 0; i < 4; ++i)
      if (x->extents[i] != out.extents[i] && x->extents[i] != 1)
        return concat("extents of ", x->number, " don't fit those of ", out.number);
  bool const compares = op.mode == CUDNN_POINTWISE_CMP_GE, indexes = op.mode == CUDNN_POINTWISE_GEN_INDEX;
  if (compares != (out.type == CUDNN_DATA_BOOLEAN) || compares != (op.math == CUDNN_DATA_BOOLEAN))
    return "comparisons, and they alone, are of booleans";
  if (indexes != (out.type == CUDNN_DATA_INT32)) return "an index is int32";
  if (indexes && (op.axis < 0 || op.axis > 3)) return "an index has a dimension";
  if (op.mode == CUDNN_POINTWISE_BINARY_SELECT && in[2]->type != CUDNN_DATA_BOOLEAN) return "a choice is by booleans";
  return "";
}

std::string wrong_with(DnnOperation const& op, std::vector<DnnTensor const*> const& in, DnnTensor const& out) {
  auto const& y = out.extents;
  auto const& x = in[0]->extents;
  switch (op.kind) {
    case DnnOperation::Kind::pointwise:
      return wrong_with_pointwise(op, in, out);
    case DnnOperation::Kind::matmul: {
      auto const& b = in[1]->extents;
      bool const fits = x[0] == y[0] && b[0] == y[0] && x[1] == y[1] && y[1] % b[1] == 0 && x[2] == y[2] &&
                        b[3] == y[3] && x[3] == b[2];
      return fits ? "" : concat("the extents of a product don't fit: ", in[0]->number, " and ", in[1]->number);
    }
    case DnnOperation::Kind::reduce:
      for (std::size_t i = 0; i < 4; ++i)
        if (x[i] % y[i] != 0) return concat("a reduction to ", out.number, " in unequal parts");
      return "";
    case DnnOperation::Kind::reshape:
      return last_offset(*in[0]) == last_offset(out) && x[0] * x[1] * x[2] * x[3] == y[0] * y[1] * y[2] * y[3]
                 ? ""
                 : concat("a reshape to other elements: ", out.number);
  }
  return "";
}

}  // namespace

std::string DnnGraph::finish() {
  std::set<std::int64_t> made, will_be;
  for (DnnOperation const& op : operations)
    if (!will_be.insert(op.output).second) return concat("two operations make ", op.output);
  std::vector<DnnOperation> ordered, left = operations;
  while (!left.empty()) {
    auto const ready = [&](DnnOperation const& op) {
      return std::ranges::all_of(op.inputs, [&](std::int64_t i) { return made.contains(i) || !will_be.contains(i); });
    };
    auto const next = std::ranges::find_if(left, ready);
    if (next == left.end()) return "operations wait for each other";
    std::vector<DnnTensor const*> in;
    for (std::int64_t const i : next->inputs) {
      if (tensors.at(i).is_virtual && !made.contains(i)) return concat("nothing makes the virtual tensor ", i);
      in.push_back(&tensors.at(i));
    }
    std::string const why = wrong_with(*next, in, tensors.at(next->output));
    if (!why.empty()) return why;
    made.insert(next->output);
    ordered.push_back(*next), left.erase(next);
  }
  operations = ordered;
  return "";
}

std::int64_t DnnGraph::workspace() const {
  std::int64_t bytes = 256, scores = 0;
  bool backward = false, sums_in_memory = false;
  for (DnnOperation const& op : operations) {
    DnnTensor const& out = tensors.at(op.output);
    bool const whole = op.kind == DnnOperation::Kind::matmul;
    if (whole && out.is_virtual && out.type != CUDNN_DATA_FLOAT)  // a gradient of each query head
      bytes += size_of(out.type) * out.extents[0] * out.strides[0];
    if (whole && out.is_virtual && out.type == CUDNN_DATA_FLOAT)
      scores = 2 * out.extents[0] * out.extents[1] * ((out.extents[2] + 127) / 128 * 128) *
               ((out.extents[3] + 127) / 128 * 128);
    backward |= op.kind == DnnOperation::Kind::reshape;
    sums_in_memory |= whole && !out.is_virtual && out.type == CUDNN_DATA_FLOAT;
  }
  return bytes + (backward && !sums_in_memory ? scores : 0);
}

void DnnGraph::run(std::map<std::int64_t, void*> const& places) const {
  std::map<std::int64_t, Elements> elements;
  for (auto const& [number, tensor] : tensors) {
    Elements& e = elements[number];
    e.tensor = &tensor;
    if (tensor.is_virtual)
      e.buffer.assign(static_cast<std::size_t>(last_offset(tensor) + 1), std::numeric_limits<double>::quiet_NaN());
    else
      e.memory = places.at(number);
  }
  for (DnnOperation const& op : operations) {
    std::vector<Elements const*> in;
    for (std::int64_t const i : op.inputs) in.push_back(&elements.at(i));
    Elements& out = elements.at(op.output);
    switch (op.kind) {
      case DnnOperation::Kind::pointwise:
        pointwise(op, in, out);
        break;
      case DnnOperation::Kind::matmul:
        matmul(*in[0], *in[1], out);
        break;
      case DnnOperation::Kind::reduce:
        reduce(op, *in[0], out);
        break;
      case DnnOperation::Kind::reshape:
        reshape(*in[0], out);
        break;
    }
  }
}

}  // namespace selenite::shim
