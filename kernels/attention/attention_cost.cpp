#include <algorithm>

#include "kernels/attention/check.hpp"
#include "kernels/attention/library.hpp"

namespace selenite {
namespace {

void check_shape(AttentionShape const& s) {
  validate(s.heads > 0 && s.kv_heads > 0 && s.head_dim > 0, "Attention with ", s.heads, " heads, ", s.kv_heads,
           " kv heads of size ", s.head_dim, " (all must be positive). Correct the shape.");
  validate(s.heads % s.kv_heads == 0, "Attention with ", s.heads, " heads and ", s.kv_heads,
           " kv heads (each kv head serves equally many heads). Choose kv_heads among the divisors of heads.");
  validate(s.scale > 0, "Attention with scale ", s.scale, " (it must be positive). Use 1 / sqrt(head_dim).");
  double const p = s.dropout.probability;
  validate(p >= 0 && p < 1, "Attention dropout of ", p, " (a probability below 1). Correct it.");
}

void check_tokens(Tensor const& x, char const* name, std::int64_t rows, std::int64_t cols) {
  validate(x.rows() == rows && x.cols() == cols, "Attention's ", name, " is ", to_string(x.shape()),
           " (its shape asks for [", rows, ", ", cols, "]). Pass the tensor of this chunk and this rank's heads.");
}

void check_stats(Tensor const& x, char const* name, AttentionShape const& s) {
  validate(x.count() == s.samples * s.heads * s.queries && x.contiguous(), "Attention's ", name, " is ",
           to_string(x.shape()), " (it holds one value a sample, head and query). Pass [samples, heads, queries].");
}

/// A row a sample: kernels find a sample's places by the row stride, so a flat list of the same count would be read
/// wrongly.
void check_places(AttentionPlaces const& places, char const* name, std::int64_t samples, std::int64_t length) {
  for (Tensor const* x : {&places.positions, &places.document_starts})
    validate(!x->defined() || (x->rows() == samples && x->cols() == length && x->dtype() == DType::int32),
             "Attention's ", name, " places are ", to_string(x->shape()), " ", selenite::name(x->dtype()),
             " (one int32 a token). Pass [samples, length].");
}

template <class Op>
void check_inputs(Op const& op) {
  AttentionShape const& s = op.shape;
  check_shape(s);
  check_tokens(op.q, "q", s.samples * s.queries, s.heads * s.head_dim);
  check_tokens(op.k, "k", s.samples * s.keys, s.kv_heads * s.head_dim);
  check_tokens(op.v, "v", s.samples * s.keys, s.kv_heads * s.head_dim);
  check_stats(op.logsumexp, "logsumexp", s);
  check_places(op.query_places, "query", s.samples, s.queries);
  check_places(op.key_places, "key", s.samples, s.keys);
  validate(op.q.dtype() == op.k.dtype() && op.q.dtype() == op.v.dtype(), "Attention's q, k and v are ",
           name(op.q.dtype()), ", ", name(op.k.dtype()), " and ", name(op.v.dtype()),
           " (one dtype is needed). Convert them.");
  validate(op.logsumexp.dtype() == DType::fp32, "Attention's logsumexp is ", name(op.logsumexp.dtype()),
           " (it is fp32). Pass an fp32 tensor.");
}

double tokens_bytes(Tensor const& x) { return static_cast<double>(x.count() * size_of(x.dtype())); }

Cost attention_cost(AttentionShape const& s, DType dtype, double flops_a_pair, double bytes) {
  Cost cost;
  cost.work = Work::attention;
  double const pairs = static_cast<double>(s.samples * s.heads) * visible_pairs(s);
  cost.flops = flops_a_pair * static_cast<double>(s.head_dim) * pairs;
  if (s.dropout.probability > 0) cost.draws = pairs;
  // the convention's 4 (forward) and 8 (backward) a pair, masked or not
  cost.model_flops = (flops_a_pair > 4 ? 8.0 : 4.0) * static_cast<double>(s.head_dim * s.samples * s.heads) *
                     static_cast<double>(s.queries) * static_cast<double>(s.keys);
  cost.bytes = bytes;
  cost.backward = flops_a_pair > 4;
  cost.m = s.queries, cost.n = s.keys, cost.k = s.head_dim, cost.batch = s.samples * s.heads;
  cost.dtype = dtype;
  return cost;
}

}  // namespace

void check(Attention const& op) {
  check_inputs(op);
  check_tokens(op.out, "out", op.q.rows(), op.q.cols());
  validate(op.out.dtype() == DType::fp32 || (!op.merge && op.out.dtype() == op.q.dtype()), "Attention's out is ",
           name(op.out.dtype()), " (fp32 when merging, else fp32 or the dtype of q). Pass such a tensor.");
}

void check(AttentionBackward const& op) {
  check_inputs(op);
  check_tokens(op.dout, "dout", op.q.rows(), op.q.cols());
  check_tokens(op.dq, "dq", op.q.rows(), op.q.cols());
  check_tokens(op.dk, "dk", op.k.rows(), op.k.cols());
  check_tokens(op.dv, "dv", op.v.rows(), op.v.cols());
  check_stats(op.delta, "delta", op.shape);
  validate(op.delta.dtype() == DType::fp32, "Attention's delta is ", name(op.delta.dtype()),
           " (it is fp32). Pass an fp32 tensor.");
  if (op.out.defined()) check_tokens(op.out, "out", op.q.rows(), op.q.cols());
  validate(op.dout.dtype() == op.q.dtype(), "Attention's dout is ", name(op.dout.dtype()), " and its q ",
           name(op.q.dtype()), " (one dtype is needed). Convert it.");
  for (Tensor const* x : {&op.out, &op.dq, &op.dk, &op.dv})
    validate(!x->defined() || x->dtype() == op.q.dtype() || x->dtype() == DType::fp32,
             "A tensor of attention's backward pass is ", name(x->dtype()),
             " (each has the dtype of q or is fp32). Convert it.");
}

double visible_pairs(AttentionShape const& s) {
  auto const queries = static_cast<double>(s.queries), keys = static_cast<double>(s.keys);
  if (!s.causal) return queries * keys;
  double const triangle = std::min(queries, keys);  // query i sees keys 0..i
  return triangle * (triangle + 1) / 2 + (queries - triangle) * keys;
}

std::int64_t backward_split_bytes(AttentionShape const& s) {
  return 2 * size_of(DType::fp32) * s.samples * s.kv_heads * s.keys * padded_head_dim(s);
}

std::int64_t backward_splits(AttentionShape const& s, std::int64_t budget) {
  std::int64_t const tasks = std::max<std::int64_t>(1, s.samples * s.kv_heads), enough = 32, most = 8;
  std::int64_t const units = (s.queries + 255) / 256;  // of queries
  std::int64_t const wanted = std::min({(enough + tasks - 1) / tasks, units, most});
  std::int64_t const fit = budget / std::max<std::int64_t>(1, backward_split_bytes(s));
  return std::max<std::int64_t>(1, std::min(wanted, fit));
}

Cost cost(Attention const& op) {
  double const bytes = tokens_bytes(op.q) + tokens_bytes(op.k) + tokens_bytes(op.v) +
                       tokens_bytes(op.out) * (op.merge ? 2 : 1) + tokens_bytes(op.logsumexp);
  return attention_cost(op.shape, op.q.dtype(), 4, bytes);
}

Cost cost(AttentionBackward const& op) {
  double bytes = tokens_bytes(op.logsumexp) + tokens_bytes(op.delta);
  for (Tensor const* x : {&op.q, &op.k, &op.v, &op.out, &op.dout})
    if (x->defined()) bytes += tokens_bytes(*x);
  for (Tensor const* x : {&op.dq, &op.dk, &op.dv}) bytes += tokens_bytes(*x) * (op.accumulate ? 2 : 1);
  return attention_cost(op.shape, op.q.dtype(), 10, bytes);
}

/// What a library needs, if it fits; our CUDA kernels use none.
std::int64_t workspace(Attention const& op, std::int64_t budget) {
  return library_refusal(op, budget).empty() ? library_bytes(op) : 0;
}
std::int64_t workspace(AttentionBackward const& op, std::int64_t budget) {
  if (op.shape.library != AttentionLibrary::own)
    return library_refusal(op, budget).empty() ? library_bytes(part_of(op, library_parts(op, budget), 0)) : 0;
  return backward_splits(op.shape, budget) * backward_split_bytes(op.shape);
}

}  // namespace selenite
