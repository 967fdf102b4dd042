#include <algorithm>
#include <limits>

#include "core/error.hpp"
#include "kernels/attention/cudnn_attention.hpp"

namespace selenite::cudnn {
namespace {

Layout tokens(Problem const& p, std::int64_t heads, std::int64_t length, TokenStrides const& strides) {
  return {{p.samples, heads, length, p.head_dim}, {strides.sample, p.head_dim, strides.token, 1}};
}
Layout of_queries(Problem const& p, TokenStrides const& strides) { return tokens(p, p.heads, p.queries, strides); }
Layout of_keys(Problem const& p, TokenStrides const& strides) { return tokens(p, p.kv_heads, p.keys, strides); }
Layout statistics(Problem const& p) { return packed({p.samples, p.heads, p.queries, 1}); }
Layout scores(Problem const& p) { return packed({p.samples, p.heads, p.queries, p.keys}); }

/// Where the key's index is beyond the query's, -infinity instead.
Value causal_mask(GraphBuilder& g, Value const& x) {
  Value const row = g.index(x, 2), column = g.index(x, 3);
  Value const seen = g.intermediate(CUDNN_DATA_BOOLEAN, x.layout), masked = g.intermediate(CUDNN_DATA_FLOAT, x.layout);
  g.pointwise(CUDNN_POINTWISE_CMP_GE, {row, column}, seen, CUDNN_DATA_BOOLEAN);
  g.pointwise(CUDNN_POINTWISE_BINARY_SELECT, {x, g.scalar(hidden), seen}, masked);
  return masked;
}

/// out = softmax(scale q k^T) v and logsumexp.
void forward(GraphBuilder& g, Problem const& p) {
  cudnnDataType_t const type = data_type(p.dtype);
  Value const tq = g.in_memory(q, type, of_queries(p, p.q)), tk = g.in_memory(k, type, swapped(of_keys(p, p.k))),
              tv = g.in_memory(v, type, of_keys(p, p.v)), tout = g.in_memory(out, type, of_queries(p, p.out)),
              tlse = g.in_memory(logsumexp, CUDNN_DATA_FLOAT, statistics(p));
  Value const products = g.intermediate(CUDNN_DATA_FLOAT, scores(p));
  g.matmul(tq, tk, products);
  Value s = g.pointwise(CUDNN_POINTWISE_MUL, {products, g.scalar(scale)});
  if (p.causal) s = causal_mask(g, s);
  Value const top = g.intermediate(CUDNN_DATA_FLOAT, statistics(p)),
              sum = g.intermediate(CUDNN_DATA_FLOAT, statistics(p));
  g.reduce(CUDNN_REDUCE_TENSOR_MAX, s, top);
  Value const exponentials = g.pointwise(CUDNN_POINTWISE_EXP, {g.pointwise(CUDNN_POINTWISE_SUB, {s, top})});
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, exponentials, sum);
  g.pointwise(CUDNN_POINTWISE_ADD, {top, g.pointwise(CUDNN_POINTWISE_LOG, {sum})}, tlse);
  Value const probabilities = g.intermediate(type, scores(p));
  g.pointwise(CUDNN_POINTWISE_DIV, {exponentials, sum}, probabilities);
  g.matmul(probabilities, tv, tout);
}

/// x^T in the dtype of the operands, for a product with what queries have.
Value transposed(GraphBuilder& g, Problem const& p, Value const& x) {
  Value const y = g.intermediate(data_type(p.dtype), swapped(x.layout));
  g.reshape(x, y);
  return y;
}

/// gradient = x^T y; where several query heads share a kv head, that of each head is summed over them.
void key_gradient(GraphBuilder& g, Problem const& p, Value const& x, Value const& y, Value const& gradient) {
  if (p.heads == p.kv_heads) return g.matmul(transposed(g, p, x), y, gradient);
  Value const of_heads = g.intermediate(data_type(p.dtype), packed({p.samples, p.heads, p.keys, p.head_dim}));
  g.matmul(transposed(g, p, x), y, of_heads);
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, of_heads, gradient);
}

/// dq, dk, dv and delta from dout, out and logsumexp.
void backward(GraphBuilder& g, Problem const& p) {
  cudnnDataType_t const type = data_type(p.dtype);
  Value const tq = g.in_memory(q, type, of_queries(p, p.q)), tk = g.in_memory(k, type, swapped(of_keys(p, p.k))),
              tv = g.in_memory(v, type, swapped(of_keys(p, p.v))), tout = g.in_memory(out, type, of_queries(p, p.out)),
              tdout = g.in_memory(dout, type, of_queries(p, p.dout)),
              tlse = g.in_memory(logsumexp, CUDNN_DATA_FLOAT, statistics(p)), factor = g.scalar(scale);
  Value const tdelta = g.in_memory(delta, CUDNN_DATA_FLOAT, statistics(p)),
              tdq = g.in_memory(dq, type, of_queries(p, p.dq)), tdk = g.in_memory(dk, type, of_keys(p, p.dk)),
              tdv = g.in_memory(dv, type, of_keys(p, p.dv));

  Value const sums = g.intermediate(CUDNN_DATA_FLOAT, statistics(p));
  Value const together = g.intermediate(CUDNN_DATA_FLOAT, {tout.layout.extents, packed(tout.layout.extents).strides});
  g.pointwise(CUDNN_POINTWISE_MUL, {tdout, tout}, together);
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, together, sums);
  g.pointwise(CUDNN_POINTWISE_MUL, {sums, g.scalar(one)}, tdelta);

  Value const products = g.intermediate(CUDNN_DATA_FLOAT, scores(p)), dp = g.intermediate(CUDNN_DATA_FLOAT, scores(p));
  g.matmul(tq, tk, products);
  Value s = g.pointwise(CUDNN_POINTWISE_SUB, {g.pointwise(CUDNN_POINTWISE_MUL, {products, factor}), tlse});
  if (p.causal) s = causal_mask(g, s);
  Value const probabilities = g.pointwise(CUDNN_POINTWISE_EXP, {s});
  key_gradient(g, p, probabilities, tdout, tdv);

  g.matmul(tdout, tv, dp);
  Value const difference = g.pointwise(CUDNN_POINTWISE_SUB, {dp, tdelta}),
              ds = g.pointwise(CUDNN_POINTWISE_MUL,
                               {g.pointwise(CUDNN_POINTWISE_MUL, {difference, probabilities}), factor});
  key_gradient(g, p, ds, tq, tdk);

  Value const tk_again = g.intermediate(type, swapped(tk.layout));
  g.reshape(tk, tk_again);
  if (!has_dq_sums(p)) return g.matmul(ds, tk_again, tdq);
  Value const tdq_sums = g.in_memory(dq_sums, CUDNN_DATA_FLOAT, packed({p.samples, p.heads, p.queries, p.head_dim}));
  g.matmul(ds, tk_again, tdq_sums);
  g.pointwise(CUDNN_POINTWISE_IDENTITY, {tdq_sums}, tdq);
}

/// What an engine configuration's engine says of itself.
bool gives_same_bits(Descriptor const& configuration) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t engine_of = engine.get();
  configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, std::span<cudnnBackendDescriptor_t>(&engine_of, 1));
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  std::int64_t const count =
      engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, std::span<cudnnBackendNumericalNote_t>(notes));
  for (std::int64_t i = 0; i < count && i < std::ssize(notes); ++i)
    if (notes[static_cast<std::size_t>(i)] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
  return true;
}

std::vector<Descriptor> configurations(Target const& target, Descriptor const& graph, cudnnBackendHeurMode_t mode) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph).set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  if (target.properties) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target.properties);
  if (!heuristic.finalize_if_supported()) return {};
  auto const count =
      static_cast<std::size_t>(heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, std::span<cudnnBackendDescriptor_t>()));
  std::vector<Descriptor> found;
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::size_t i = 0; i < count; ++i)
    handles.push_back(found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  if (count == 0) return found;
  found.resize(std::min(count, static_cast<std::size_t>(heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                                      std::span<cudnnBackendDescriptor_t>(handles)))));
  return found;
}

}  // namespace

Descriptor make_graph(GraphBuilder& builder, Target const& target, Problem const& problem) {
  problem.backward ? backward(builder, problem) : forward(builder, problem);
  return builder.finish(target);
}

Plan make_plan(Target const& target, Problem const& problem, std::string& why) {
  GraphBuilder builder;
  Descriptor const graph = make_graph(builder, target, problem);
  why = "it has no engine for this shape on this device";
  for (cudnnBackendHeurMode_t const mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (Descriptor const& configuration : configurations(target, graph, mode)) {
      if (problem.deterministic && !gives_same_bits(configuration)) {
        why = "its engines for this shape do not give the same bits every time";
        continue;
      }
      Plan made{.plan = Descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)};
      made.plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (target.handle) made.plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
      if (target.properties) made.plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, target.properties);
      if (!made.plan.finalize_if_supported()) continue;
      made.workspace = made.plan.get_integer(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
      if (made.workspace <= problem.workspace) return made;
      why = concat("its engine needs ", made.workspace, " bytes of scratch, and ", problem.workspace,
                   " of run.workspace are left for it");
    }
  }
  return {};
}

Arguments::Arguments(Problem const& problem, double scale)
    : scale_(static_cast<float>(scale)), hidden_(-std::numeric_limits<float>::infinity()) {
  set(Number::scale, &scale_);
  if (problem.causal) set(hidden, &hidden_);
  if (problem.backward) set(one, &one_);
}

void Arguments::run(cudnnHandle_t handle, Plan const& plan, std::span<std::byte> workspace) const {
  void* const scratch = workspace.data();
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<std::int64_t const>(numbers_));
  pack.set_addresses(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, places_);
  pack.set_addresses(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, std::span<void* const>(&scratch, 1));
  pack.finalize();
  CUDNN_CHECK(cudnnBackendExecute(handle, plan.plan.get(), pack.get()));
}

}  // namespace selenite::cudnn
