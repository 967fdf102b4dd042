#include "tests/shim/cudnn.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <string>

#include "core/error.hpp"
#include "tests/shim/include/cuda_runtime.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

namespace selenite::shim {

DnnRecord& dnn_record() {
  thread_local DnnRecord record;
  return record;
}

namespace {

std::atomic<std::int64_t> runs_of_all{0};
thread_local std::string last_reason;
template <class... Parts>
cudnnStatus_t refuse(cudnnStatus_t status, Parts const&... reason) {
  last_reason = concat(reason...);
  return status;
}

struct Attribute {
  cudnnBackendAttributeType_t type{};
  std::int64_t count = 0;
  std::vector<std::byte> bytes;
};
struct Descriptor {
  cudnnBackendDescriptorType_t type{};
  bool finalized = false;
  std::map<cudnnBackendAttributeName_t, Attribute> attributes;
  std::shared_ptr<DnnGraph const> graph;  ///< of graphs, heuristics, configurations, engines and plans
  std::size_t engine = 0;                 ///< of configurations, engines and plans

  bool has(cudnnBackendAttributeName_t name) const { return attributes.contains(name); }
  template <class T>
  std::vector<T> all(cudnnBackendAttributeName_t name) const {
    auto const found = attributes.find(name);
    if (found == attributes.end()) return {};
    std::vector<T> values(static_cast<std::size_t>(found->second.count));
    std::memcpy(static_cast<void*>(values.data()), found->second.bytes.data(), found->second.bytes.size());
    return values;
  }
  template <class T>
  T one(cudnnBackendAttributeName_t name, T otherwise = {}) const {
    auto const found = attributes.find(name);
    if (found != attributes.end()) std::memcpy(&otherwise, found->second.bytes.data(), sizeof otherwise);
    return otherwise;
  }
  Descriptor const& part(cudnnBackendAttributeName_t name) const {
    return *static_cast<Descriptor const*>(one<void*>(name));
  }
};

/// What a descriptor can be told: by attribute, its type, how often, and whether it must.
struct Rule {
  cudnnBackendDescriptorType_t of;
  cudnnBackendAttributeName_t name;
  cudnnBackendAttributeType_t type;
  std::int64_t least = 1, most = 1;
  bool needed = true;
  int wants = -1;  ///< the type that a descriptor given here must have
};
std::vector<Rule> const& rules() {
  constexpr std::int64_t any = 1 << 20;
  constexpr auto tensor = CUDNN_BACKEND_TENSOR_DESCRIPTOR;
  constexpr auto part = CUDNN_TYPE_BACKEND_DESCRIPTOR;
  constexpr auto pointwise = CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                 matmul = CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
                 reduction = CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
                 reshape = CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, graph = CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
                 heuristic = CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, plan = CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
                 pack = CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR;
  static std::vector<Rule> const all{
      {tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64},
      {tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE},
      {tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, 4},
      {tensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, 4},
      {tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64},
      {tensor, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false},
      {tensor, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, 1, false},
      {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE},
      {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE},
      {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, 1, false},
      {pointwise, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, part, 1, 1, true, CUDNN_BACKEND_POINTWISE_DESCRIPTOR},
      {pointwise, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, part, 1, 1, true, tensor},
      {pointwise, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, part, 1, 1, false, tensor},
      {pointwise, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, part, 1, 1, false, tensor},
      {pointwise, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, part, 1, 1, true, tensor},
      {CUDNN_BACKEND_MATMUL_DESCRIPTOR, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE},
      {matmul, CUDNN_ATTR_OPERATION_MATMUL_DESC, part, 1, 1, true, CUDNN_BACKEND_MATMUL_DESCRIPTOR},
      {matmul, CUDNN_ATTR_OPERATION_MATMUL_ADESC, part, 1, 1, true, tensor},
      {matmul, CUDNN_ATTR_OPERATION_MATMUL_BDESC, part, 1, 1, true, tensor},
      {matmul, CUDNN_ATTR_OPERATION_MATMUL_CDESC, part, 1, 1, true, tensor},
      {CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE},
      {CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE},
      {reduction, CUDNN_ATTR_OPERATION_REDUCTION_DESC, part, 1, 1, true, CUDNN_BACKEND_REDUCTION_DESCRIPTOR},
      {reduction, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, part, 1, 1, true, tensor},
      {reduction, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, part, 1, 1, true, tensor},
      {reshape, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, part, 1, 1, true, tensor},
      {reshape, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, part, 1, 1, true, tensor},
      {graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, part, 1, any},
      {graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, false},
      {heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, part, 1, 1, true, graph},
      {heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE},
      {plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE},
      {plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, part, 1, 1, true, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR},
      {pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, any},
      {pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, any},
      {pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR},
  };
  return all;
}
std::size_t size_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
      return 1;
    case CUDNN_TYPE_DATA_TYPE:
    case CUDNN_TYPE_HEUR_MODE:
    case CUDNN_TYPE_NUMERICAL_NOTE:
    case CUDNN_TYPE_POINTWISE_MODE:
    case CUDNN_TYPE_REDUCTION_OPERATOR_TYPE:
      return sizeof(int);
    default:
      return 8;
  }
}

DnnTensor tensor_of(Descriptor const& d) {
  DnnTensor x{.number = d.one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID),
              .type = d.one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE),
              .alignment = d.one<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT),
              .is_virtual = d.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL),
              .by_value = d.one<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE)};
  std::ranges::copy(d.all<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS), x.extents.begin());
  std::ranges::copy(d.all<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES), x.strides.begin());
  return x;
}

DnnOperation operation_of(Descriptor const& d, std::vector<DnnTensor>& tensors) {
  DnnOperation op;
  std::vector<cudnnBackendAttributeName_t> inputs;
  cudnnBackendAttributeName_t output{};
  if (d.type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
    Descriptor const& how = d.part(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    op.mode = how.one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE);
    op.math = how.one<cudnnDataType_t>(CUDNN_ATTR_POINTWISE_MATH_PREC);
    op.axis = how.one<std::int64_t>(CUDNN_ATTR_POINTWISE_AXIS, -1);
    inputs = {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC,
              CUDNN_ATTR_OPERATION_POINTWISE_TDESC},
    output = CUDNN_ATTR_OPERATION_POINTWISE_YDESC;
  } else if (d.type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) {
    op.kind = DnnOperation::Kind::matmul;
    inputs = {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC},
    output = CUDNN_ATTR_OPERATION_MATMUL_CDESC;
  } else if (d.type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) {
    op.kind = DnnOperation::Kind::reduce;
    op.reduction =
        d.part(CUDNN_ATTR_OPERATION_REDUCTION_DESC).one<cudnnReduceTensorOp_t>(CUDNN_ATTR_REDUCTION_OPERATOR);
    inputs = {CUDNN_ATTR_OPERATION_REDUCTION_XDESC}, output = CUDNN_ATTR_OPERATION_REDUCTION_YDESC;
  } else {
    op.kind = DnnOperation::Kind::reshape;
    inputs = {CUDNN_ATTR_OPERATION_RESHAPE_XDESC}, output = CUDNN_ATTR_OPERATION_RESHAPE_YDESC;
  }
  for (cudnnBackendAttributeName_t const name : inputs)
    if (d.has(name)) tensors.push_back(tensor_of(d.part(name))), op.inputs.push_back(tensors.back().number);
  tensors.push_back(tensor_of(d.part(output))), op.output = tensors.back().number;
  return op;
}

cudnnStatus_t finalize_tensor(Descriptor const& d) {
  DnnTensor const x = tensor_of(d);
  for (std::size_t i = 0; i < 4; ++i)
    if (x.extents[i] < 1 || x.strides[i] < 1)
      return refuse(CUDNN_STATUS_BAD_PARAM, "tensor ", x.number, " has an extent or a stride below 1");
  if (x.is_virtual && x.by_value) return refuse(CUDNN_STATUS_BAD_PARAM, "a virtual tensor by value");
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalize_graph(Descriptor& d) {
  auto graph = std::make_shared<DnnGraph>();
  for (void* const operation : d.all<void*>(CUDNN_ATTR_OPERATIONGRAPH_OPS)) {
    std::vector<DnnTensor> tensors;
    graph->operations.push_back(operation_of(*static_cast<Descriptor*>(operation), tensors));
    for (DnnTensor const& x : tensors)
      if (!(graph->tensors.emplace(x.number, x).first->second == x))
        return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "two tensors have the number ", x.number);
  }
  std::string const why = graph->finish();
  if (!why.empty()) return refuse(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, why);
  d.graph = graph;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalize_plan(Descriptor& d) {
  Descriptor const& configuration = d.part(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  d.graph = configuration.graph, d.engine = configuration.engine;
  if (!dnn_record().engines[d.engine].supported)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN, "the engine does not know the graph");
  ++dnn_record().plans;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalize_pack(Descriptor const& d) {
  auto const numbers = d.all<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  if (std::set<std::int64_t>(numbers.begin(), numbers.end()).size() != numbers.size())
    return refuse(CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES, "a number twice in a variant pack");
  if (numbers.size() != d.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size())
    return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "as many addresses as numbers");
  return CUDNN_STATUS_SUCCESS;
}

std::int64_t workspace_of(Descriptor const& d) {
  return d.graph->workspace() + dnn_record().engines[d.engine].more_workspace;
}

/// The configurations that heuristics find: by mode A all engines, by fallback none more.
std::int64_t results(Descriptor const& heuristic, std::int64_t asked, void* elements) {
  bool const best = heuristic.one<cudnnBackendHeurMode_t>(CUDNN_ATTR_ENGINEHEUR_MODE) == CUDNN_HEUR_MODE_A;
  auto const count = best ? std::ssize(dnn_record().engines) : 0;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(asked, count); ++i) {
    auto& configuration = *static_cast<Descriptor*>(static_cast<void**>(elements)[i]);
    configuration.graph = heuristic.graph, configuration.engine = static_cast<std::size_t>(i),
    configuration.finalized = true;
  }
  return count;
}

}  // namespace

std::int64_t dnn_runs_of_all_threads() { return runs_of_all; }

}  // namespace selenite::shim

using namespace selenite;
using namespace selenite::shim;

std::size_t cudnnGetVersion() { return dnn_record().version; }
char const* cudnnGetErrorString(cudnnStatus_t status) {
  return status == CUDNN_STATUS_SUCCESS        ? "CUDNN_STATUS_SUCCESS"
         : status < CUDNN_STATUS_NOT_SUPPORTED ? "CUDNN_STATUS_BAD_PARAM"
                                               : "CUDNN_STATUS_NOT_SUPPORTED";
}
void cudnnGetLastErrorString(char* message, std::size_t size) {
  std::size_t const length = std::min(size - 1, last_reason.size());
  std::memcpy(message, last_reason.data(), length);
  message[length] = 0;
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  if (fail_capture()) return refuse(CUDNN_STATUS_BAD_PARAM, "a handle takes memory, and the thread captures");
  *handle = new cudnnContext;
  ++dnn_record().handles;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  delete handle;
  ++dnn_record().destroyed;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  *descriptor = new Descriptor{.type = type};
  ++dnn_record().descriptors;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  delete static_cast<Descriptor*>(descriptor);
  --dnn_record().descriptors;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count, void const* elements) {
  auto& d = *static_cast<Descriptor*>(descriptor);
  if (d.finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "attribute ", name, " of a finalized descriptor");
  auto const rule = std::ranges::find_if(rules(), [&](Rule const& r) { return r.of == d.type && r.name == name; });
  if (rule == rules().end())
    return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "descriptors of type ", d.type, " have no attribute ", name);
  if (rule->type != type) return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute ", name, " of type ", type);
  if (!elements) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "attribute ", name, " from nowhere");
  if (count < rule->least || count > rule->most)
    return refuse(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT, "attribute ", name, " with ", count, " elements");
  for (std::int64_t i = 0; type == CUDNN_TYPE_BACKEND_DESCRIPTOR && i < count; ++i) {
    auto const* const part = static_cast<Descriptor const*>(static_cast<void* const*>(elements)[i]);
    if (!part) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "attribute ", name, " without a descriptor");
    if (!part->finalized) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute ", name, " is not finalized");
    if (rule->wants >= 0 && rule->wants != part->type)
      return refuse(CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE, "attribute ", name, " is of type ", part->type);
    if (part->graph) d.graph = part->graph;
  }
  auto const* const bytes = static_cast<std::byte const*>(elements);
  d.attributes[name] = {type, count, {bytes, bytes + static_cast<std::size_t>(count) * size_of(type)}};
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  auto& d = *static_cast<Descriptor*>(descriptor);
  for (Rule const& rule : rules())
    if (rule.of == d.type && rule.needed && !d.has(rule.name))
      return refuse(CUDNN_STATUS_BAD_PARAM, "attribute ", rule.name, " is missing");
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  if (d.type == CUDNN_BACKEND_TENSOR_DESCRIPTOR) status = finalize_tensor(d);
  if (d.type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) status = finalize_graph(d);
  if (d.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) status = finalize_plan(d);
  if (d.type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR) status = finalize_pack(d);
  d.finalized = status == CUDNN_STATUS_SUCCESS;
  return status;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t asked, std::int64_t* count,
                                       void* elements) {
  auto const& d = *static_cast<Descriptor const*>(descriptor);
  if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE && d.graph) {
    *count = dnn_record().engines[d.engine].deterministic ? 0 : 1;
    if (asked > 0 && *count)
      *static_cast<cudnnBackendNumericalNote_t*>(elements) = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    return CUDNN_STATUS_SUCCESS;
  }
  if (!d.finalized) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute ", name, " is asked too early");
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    *count = results(d, asked, elements);
  } else if (name == CUDNN_ATTR_ENGINECFG_ENGINE && type == CUDNN_TYPE_BACKEND_DESCRIPTOR && asked == 1) {
    auto& engine = *static_cast<Descriptor*>(*static_cast<void**>(elements));
    engine.graph = d.graph, engine.engine = d.engine, *count = 1;
  } else if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE && type == CUDNN_TYPE_INT64 && asked == 1) {
    *static_cast<std::int64_t*>(elements) = workspace_of(d), *count = 1;
  } else {
    return refuse(CUDNN_STATUS_BAD_PARAM, "attribute ", name, " can't be asked like this");
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
  auto const &p = *static_cast<Descriptor const*>(plan), &v = *static_cast<Descriptor const*>(pack);
  if (!handle || !p.finalized || !v.finalized || p.type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ||
      v.type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
    return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a plan is run with a handle and a variant pack");
  DnnRun run{.graph = *p.graph, .workspace = workspace_of(p), .engine = p.engine, .stream = handle->stream};
  auto const numbers = v.all<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  auto const places = v.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    auto const found = run.graph.tensors.find(numbers[i]);
    if (found == run.graph.tensors.end() || found->second.is_virtual)
      return refuse(CUDNN_STATUS_BAD_PARAM, "the graph has no tensor ", numbers[i], " in memory");
    run.places[numbers[i]] = places[i];
  }
  for (auto const& [number, tensor] : run.graph.tensors) {
    if (tensor.is_virtual) continue;
    auto const place = reinterpret_cast<std::uintptr_t>(run.places[number]);
    if (!place) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "tensor ", number, " is nowhere");
    if (!tensor.by_value && place % static_cast<std::uintptr_t>(tensor.alignment) != 0)
      return refuse(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "tensor ", number, " is not aligned");
  }
  void* const scratch = v.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  if (!scratch) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no scratch");
  std::map<std::int64_t, std::vector<std::byte>> values;  // of the host, which may change them afterwards
  for (auto const& [number, tensor] : run.graph.tensors)
    if (tensor.by_value) {
      auto const* const value = static_cast<std::byte const*>(run.places[number]);
      values[number].assign(value, value + sizeof(float));
    }
  cudaError_t const given = give(handle->stream, [run, values, scratch](void const*) {
    if (skips_work()) return;
    std::memset(scratch, 0xff, static_cast<std::size_t>(run.workspace));  // the engine's
    DnnRun& now = dnn_record().runs.emplace_back(run);
    for (auto const& [number, value] : values) now.places[number] = const_cast<std::byte*>(value.data());
    now.graph.run(now.places);
    ++runs_of_all;
  });
  return given == cudaSuccess ? CUDNN_STATUS_SUCCESS : refuse(CUDNN_STATUS_BAD_PARAM, cudaGetErrorString(given));
}
