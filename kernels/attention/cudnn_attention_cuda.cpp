#include <limits>

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

/// Scores, minus infinity where nothing is seen.
Value masked(GraphBuilder& g, Problem const& p, Value s) {
  if (!p.causal) return s;
  Value const otherwise = g.scalar(hidden);
  s = g.lower_triangle(s, otherwise);
  if (!p.documents) return s;
  Layout const of_rows{{p.samples, 1, p.queries, 1}, {p.starts.sample, p.starts.sample, p.starts.token, 1}};
  return g.from_index_on(s, g.in_memory(starts, DType::int32, of_rows), otherwise);
}

/// out = softmax(scale q k^T) v and logsumexp.
void forward(GraphBuilder& g, Problem const& p) {
  DType const type = p.dtype;
  Value const tq = g.in_memory(q, type, of_queries(p, p.q)), tk = g.in_memory(k, type, swapped(of_keys(p, p.k))),
              tv = g.in_memory(v, type, of_keys(p, p.v)), tout = g.in_memory(out, type, of_queries(p, p.out)),
              tlse = g.in_memory(logsumexp, DType::fp32, statistics(p));
  Value const products = g.intermediate(DType::fp32, scores(p));
  g.matmul(tq, tk, products);
  Value const s = masked(g, p, g.pointwise(Pointwise::multiply, {products, g.scalar(scale)}));
  Value const top = g.intermediate(DType::fp32, statistics(p)), sum = g.intermediate(DType::fp32, statistics(p));
  g.reduce(Reduction::largest, s, top);
  Value const exponentials = g.pointwise(Pointwise::exponential, {g.pointwise(Pointwise::subtract, {s, top})});
  g.reduce(Reduction::sum, exponentials, sum);
  g.pointwise(Pointwise::add, {top, g.pointwise(Pointwise::logarithm, {sum})}, tlse);
  Value const probabilities = g.intermediate(type, scores(p));
  g.pointwise(Pointwise::divide, {exponentials, sum}, probabilities);
  g.matmul(probabilities, tv, tout);
}

/// x^T in the dtype of the operands, for a product with what queries have.
Value transposed(GraphBuilder& g, Problem const& p, Value const& x) {
  Value const y = g.intermediate(p.dtype, swapped(x.layout));
  g.reshape(x, y);
  return y;
}

/// gradient = x^T y; where several query heads share a kv head, that of each head is summed over them.
void key_gradient(GraphBuilder& g, Problem const& p, Value const& x, Value const& y, Value const& gradient) {
  if (p.heads == p.kv_heads) return g.matmul(transposed(g, p, x), y, gradient);
  Value const of_heads = g.intermediate(p.dtype, packed({p.samples, p.heads, p.keys, p.head_dim}));
  g.matmul(transposed(g, p, x), y, of_heads);
  g.reduce(Reduction::sum, of_heads, gradient);
}

/// dq, dk, dv and delta from dout, out and logsumexp.
void backward(GraphBuilder& g, Problem const& p) {
  DType const type = p.dtype;
  Value const tq = g.in_memory(q, type, of_queries(p, p.q)), tk = g.in_memory(k, type, swapped(of_keys(p, p.k))),
              tv = g.in_memory(v, type, swapped(of_keys(p, p.v))), tout = g.in_memory(out, type, of_queries(p, p.out)),
              tdout = g.in_memory(dout, type, of_queries(p, p.dout)),
              tlse = g.in_memory(logsumexp, DType::fp32, statistics(p)), factor = g.scalar(scale);
  Value const tdelta = g.in_memory(delta, DType::fp32, statistics(p)), tdq = g.in_memory(dq, type, of_queries(p, p.dq)),
              tdk = g.in_memory(dk, type, of_keys(p, p.dk)), tdv = g.in_memory(dv, type, of_keys(p, p.dv));

  Value const sums = g.intermediate(DType::fp32, statistics(p));
  Value const together = g.intermediate(DType::fp32, {tout.layout.extents, packed(tout.layout.extents).strides});
  g.pointwise(Pointwise::multiply, {tdout, tout}, together);
  g.reduce(Reduction::sum, together, sums);
  g.pointwise(Pointwise::multiply, {sums, g.scalar(one)}, tdelta);

  Value const products = g.intermediate(DType::fp32, scores(p)), dp = g.intermediate(DType::fp32, scores(p));
  g.matmul(tq, tk, products);
  Value const s = g.pointwise(Pointwise::subtract, {g.pointwise(Pointwise::multiply, {products, factor}), tlse});
  Value const probabilities = g.pointwise(Pointwise::exponential, {masked(g, p, s)});
  key_gradient(g, p, probabilities, tdout, tdv);

  g.matmul(tdout, tv, dp);
  Value const difference = g.pointwise(Pointwise::subtract, {dp, tdelta}),
              ds = g.pointwise(Pointwise::multiply,
                               {g.pointwise(Pointwise::multiply, {difference, probabilities}), factor});
  key_gradient(g, p, ds, tq, tdk);

  Value const tk_again = g.intermediate(type, swapped(tk.layout));
  g.reshape(tk, tk_again);
  if (!has_dq_sums(p)) return g.matmul(ds, tk_again, tdq);
  Value const tdq_sums = g.in_memory(dq_sums, DType::fp32, packed({p.samples, p.heads, p.queries, p.head_dim}));
  g.matmul(ds, tk_again, tdq_sums);
  g.pointwise(Pointwise::identity, {tdq_sums}, tdq);
}

}  // namespace

Descriptor make_graph(GraphBuilder& builder, Target const& target, Problem const& problem) {
  problem.backward ? backward(builder, problem) : forward(builder, problem);
  return builder.finish(target);
}

Plan make_plan(Target const& target, Problem const& problem, std::string& why) {
  GraphBuilder builder;
  Descriptor const graph = make_graph(builder, target, problem);
  return make_plan(target, graph, {problem.workspace, problem.deterministic}, why);
}

Arguments::Arguments(Problem const& problem, double scale)
    : scale_(static_cast<float>(scale)), hidden_(-std::numeric_limits<float>::infinity()) {
  set(Number::scale, &scale_);
  if (problem.causal) set(hidden, &hidden_);
  if (problem.backward) set(one, &one_);
}

}  // namespace selenite::cudnn
