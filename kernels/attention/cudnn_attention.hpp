#pragma once
#include <compare>
#include <cstddef>
#include <string>

#include "kernels/attention/cudnn_graph.hpp"

/// Attention as cuDNN's fused engines know it: a graph of products, pointwise operations and reductions that they
/// recognize as a whole. (The single operation that cuDNN 9.13 and later have for it takes no causal mask before 9.21.)
namespace selenite::cudnn {

/// One tensor of tokens as the library sees it: [samples, heads, tokens, head_dim], rows of head_dim elements.
struct TokenStrides {
  std::int64_t sample = 0, token = 0;
  auto operator<=>(TokenStrides const&) const = default;
};

/// All that a plan depends on.
struct Problem {
  DType dtype = DType::bf16;  ///< of everything but the sums and the statistics
  std::int64_t samples = 0, queries = 0, keys = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool causal = false;         ///< query i sees keys 0 to i; else all
  bool documents = false;      ///< of those only keys from the query's start on
  bool backward = false;       ///< else forward
  bool deterministic = false;  ///< backward: the same bits every time
  TokenStrides q, k, v, out, dout, dq, dk, dv;
  TokenStrides starts;         ///< of documents, int32 [samples, queries]
  std::int64_t workspace = 0;  ///< bytes that the plan may use
  auto operator<=>(Problem const&) const = default;
};

/// The numbers of the graphs' tensors. logsumexp, delta (row sums of dout * out) and dq_sums are fp32 and packed:
/// [samples, heads, queries, 1] and [samples, heads, queries, head_dim].
enum Number : std::int64_t {
  q = 1,
  k,
  v,
  out,
  logsumexp,
  scale,
  hidden,
  one,
  dout,
  delta,
  dq_sums,
  dq,
  dk,
  dv,
  starts
};

/// Whether a plan of the problem has fp32 sums of dq in memory. Without, engines that add to them in any order don't
/// fit the graph; those that remain keep dP whole in their scratch.
constexpr bool has_dq_sums(Problem const& p) { return p.backward && !p.deterministic; }

/// The graph of the problem; `builder` must outlive its plans' making.
Descriptor make_graph(GraphBuilder& builder, Target const& target, Problem const& problem);
/// Its plan (see make_plan above).
Plan make_plan(Target const& target, Problem const& problem, std::string& why);

/// Where the tensors of a problem's graph are, and its numbers.
class Arguments {
 public:
  Arguments(Problem const& problem, double scale);
  Arguments(Arguments const&) = delete;
  Arguments& operator=(Arguments const&) = delete;
  void set(Number number, void* place) { numbers_.push_back(number), places_.push_back(place); }
  /// Starts the plan on the handle's stream.
  void run(cudnnContext* handle, Plan const& plan, std::span<std::byte> workspace) const {
    cudnn::run(handle, plan, numbers_, places_, workspace.data());
  }

 private:
  float scale_, hidden_, one_ = 1;  // read by the library when the plan is started
  std::vector<std::int64_t> numbers_;
  std::vector<void*> places_;
};

}  // namespace selenite::cudnn
