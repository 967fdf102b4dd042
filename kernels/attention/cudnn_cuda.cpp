#include <cudnn.h>
#include <map>
#include <memory>

#include "core/cuda.hpp"
#include "core/text.hpp"
#include "kernels/attention/check.hpp"
#include "kernels/attention/cudnn_attention.hpp"
#include "kernels/attention/library.hpp"
#include "kernels/attention/parts_cuda.hpp"

namespace selenite {

/// The library's handle and the plans of all problems so far, of one device.
class Cudnn {
 public:
  struct Planned {
    cudnn::Plan plan;  ///< plan.get() is null: there is none
    std::string why;
  };
  Cudnn() { CUDNN_CHECK(cudnnCreate(&handle_)); }
  ~Cudnn() {
    plans_.clear();
    cudnnDestroy(handle_);
  }
  Cudnn(Cudnn const&) = delete;
  Cudnn& operator=(Cudnn const&) = delete;

  bool knows(cudnn::Problem const& problem) const { return plans_.contains(problem); }
  /// The first time that a problem comes, the library chooses and compiles: seconds.
  Planned const& plan(cudnn::Problem const& problem) {
    auto const [at, is_new] = plans_.try_emplace(problem);
    if (is_new) at->second.plan = cudnn::make_plan({.handle = handle_}, problem, at->second.why);
    return at->second;
  }
  void run(cudnn::Plan const& plan, cudnn::Arguments const& arguments, std::span<std::byte> workspace,
           cudaStream_t stream) {
    CUDNN_CHECK(cudnnSetStream(handle_, stream));
    arguments.run(handle_, plan, workspace);
  }

 private:
  cudnnHandle_t handle_ = nullptr;
  std::map<cudnn::Problem, Planned> plans_;
};

namespace {

constexpr std::size_t oldest_version = 91002;  // 9.10.0 and 9.10.1 have known faults in attention
/// Up to this one, backward passes read beyond keys that do not fill blocks of 128.
constexpr std::size_t last_that_needs_whole_blocks = 91500;

std::string version_text(std::size_t v) { return concat(v / 10000, ".", v / 100 % 100, ".", v % 100); }

std::string refusal_of_version(SeenBlock const& block, bool backward) {
  std::size_t const version = cudnnGetVersion();
  if (version < oldest_version)
    return concat("it is cuDNN ", version_text(version), "; ", version_text(oldest_version), " is the oldest used");
  if (backward && version <= last_that_needs_whole_blocks && block.keys % 128 != 0)
    return concat("cuDNN ", version_text(version), " needs whole blocks of 128 keys for the backward pass");
  return "";
}

cudnn::TokenStrides strides_of(Tensor const& x, std::int64_t tokens_a_sample) {
  return {tokens_a_sample * x.row_stride(), x.row_stride()};
}
cudnn::TokenStrides strides_of(Tensor const& part, Tensor const& whole, std::int64_t part_length,
                               std::int64_t whole_length) {
  return part.defined() ? strides_of(part, part_length) : strides_of(whole, whole_length);
}

template <class Op>
cudnn::Problem problem_of(Op const& op, SeenBlock const& b, std::int64_t plan_bytes) {
  AttentionShape const& s = op.shape;
  return {.dtype = op.q.dtype(),
          .samples = s.samples,
          .queries = b.queries,
          .keys = b.keys,
          .heads = s.heads,
          .kv_heads = s.kv_heads,
          .head_dim = s.head_dim,
          .causal = b.causal,
          .documents = b.documents,
          .q = strides_of(op.q, s.queries),
          .k = strides_of(op.k, s.keys),
          .v = strides_of(op.v, s.keys),
          .starts = b.documents ? cudnn::TokenStrides{op.query_places.document_starts.row_stride(), 1}
                                : cudnn::TokenStrides{},
          .workspace = plan_bytes};
}
cudnn::Problem problem_of(Attention const& op, LibraryForward const& parts) {
  cudnn::Problem p = problem_of(op, parts.block, parts.plan_bytes);
  p.out = strides_of(parts.out, op.out, p.queries, op.shape.queries);
  return p;
}
cudnn::Problem problem_of(AttentionBackward const& op, LibraryBackward const& parts) {
  cudnn::Problem p = problem_of(op, parts.block, parts.plan_bytes);
  AttentionShape const& s = op.shape;
  p.backward = true, p.deterministic = s.deterministic;
  p.out = strides_of(op.out, s.queries), p.dout = strides_of(op.dout, s.queries);
  p.dq = strides_of(parts.dq, op.dq, p.queries, s.queries);
  p.dk = strides_of(parts.dk, op.dk, p.keys, s.keys), p.dv = strides_of(parts.dv, op.dv, p.keys, s.keys);
  return p;
}

/// The plan for an operation with its temporaries, or null with the reason.
template <class Op, class Parts>
Cudnn::Planned const* find_plan(Cuda& cuda, Op const& op, Parts const& parts, std::string& why) {
  why = refusal_of_version(parts.block, std::is_same_v<Op, AttentionBackward>);
  if (!why.empty()) return nullptr;
  if (!cuda.cudnn) cuda.cudnn = std::make_shared<Cudnn>();
  cudnn::Problem const problem = problem_of(op, parts);
  if (cuda.prepared && op.shape.library == AttentionLibrary::automatic && !cuda.cudnn->knows(problem)) {
    why = "no plan was made for this shape before the first step";  // a text that grows has many shapes
    return nullptr;
  }
  Cudnn::Planned const& planned = cuda.cudnn->plan(problem);
  why = planned.why;
  return planned.plan.plan.get() ? &planned : nullptr;
}

std::byte* at(Tensor const& x, std::int64_t row) { return x.raw() + row * x.row_stride() * size_of(x.dtype()); }
std::byte* part_or(Tensor const& part, Tensor const& whole, std::int64_t row) {
  return part.defined() ? part.raw() : at(whole, row);
}

void run(Cuda& cuda, Attention const& op, LibraryForward const& parts, cudnn::Plan const& plan,
         std::span<std::byte> workspace) {
  SeenBlock const& b = parts.block;
  cudnn::Arguments arguments(problem_of(op, parts), op.shape.scale);
  arguments.set(cudnn::q, at(op.q, b.first_query));
  arguments.set(cudnn::k, at(op.k, b.first_key));
  arguments.set(cudnn::v, at(op.v, b.first_key));
  if (b.documents) arguments.set(cudnn::starts, op.query_places.document_starts.raw());
  arguments.set(cudnn::out, part_or(parts.out, op.out, 0));
  arguments.set(cudnn::logsumexp, part_or(parts.logsumexp, op.logsumexp, 0));
  cuda.cudnn->run(plan, arguments, workspace, cuda.stream);
  if (parts.out.defined())
    merge_part(cuda, op, {op.shape.queries, b.first_query, b.queries}, parts.out, parts.logsumexp);
  cuda.flops +=
      4 * static_cast<double>(op.shape.head_dim * op.shape.samples * op.shape.heads) * visible_pairs(op.shape);
}

void run(Cuda& cuda, AttentionBackward const& op, LibraryBackward const& parts, cudnn::Plan const& plan,
         std::span<std::byte> workspace) {
  SeenBlock const& b = parts.block;
  AttentionShape const& s = op.shape;
  TokenPart const queries{s.queries, b.first_query, b.queries}, keys{s.keys, b.first_key, b.keys};
  if (parts.delta.defined()) {
    gather_part(cuda, queries, op.logsumexp, parts.logsumexp);
    make_delta(cuda, op);  // of all queries, which the plan does not see
  }
  cudnn::Arguments arguments(problem_of(op, parts), s.scale);
  arguments.set(cudnn::q, at(op.q, b.first_query));
  arguments.set(cudnn::k, at(op.k, b.first_key));
  arguments.set(cudnn::v, at(op.v, b.first_key));
  if (b.documents) arguments.set(cudnn::starts, op.query_places.document_starts.raw());
  arguments.set(cudnn::out, at(op.out, b.first_query));
  arguments.set(cudnn::dout, at(op.dout, b.first_query));
  arguments.set(cudnn::logsumexp, part_or(parts.logsumexp, op.logsumexp, 0));
  arguments.set(cudnn::delta, part_or(parts.delta, op.delta, 0));
  if (parts.dq_sums.defined()) arguments.set(cudnn::dq_sums, parts.dq_sums.raw());
  arguments.set(cudnn::dq, part_or(parts.dq, op.dq, 0));
  arguments.set(cudnn::dk, part_or(parts.dk, op.dk, 0));
  arguments.set(cudnn::dv, part_or(parts.dv, op.dv, 0));
  cuda.cudnn->run(plan, arguments, workspace, cuda.stream);
  if (parts.dq.defined()) add_part(cuda, queries, parts.dq, op.dq, op.accumulate);
  if (parts.dk.defined()) add_part(cuda, keys, parts.dk, op.dk, op.accumulate);
  if (parts.dv.defined()) add_part(cuda, keys, parts.dv, op.dv, op.accumulate);
  cuda.flops += 10 * static_cast<double>(s.head_dim * s.samples * s.heads) * visible_pairs(s);
}

/// The plan and the temporaries of an operation in the scratch at hand; no plan: `why` says why not.
template <class Op>
struct Use {
  using Parts = decltype(place_library(std::declval<Op const&>(), std::declval<Arena&>()));
  Parts parts;
  Cudnn::Planned const* planned = nullptr;
  std::span<std::byte> workspace;
  std::string why;

  Use(Cuda& cuda, Op const& op) {
    auto const scratch = static_cast<std::int64_t>(cuda.workspace.size());
    why = library_refusal(op, scratch);
    if (why.empty()) {
      Arena arena("attention", cuda.workspace.data(), scratch, op.q.device());
      parts = place_library(op, arena);
      planned = find_plan(cuda, op, parts, why);
      workspace = cuda.workspace.subspan(static_cast<std::size_t>(arena.mark()));
    }
    validate(planned || op.shape.library != AttentionLibrary::cudnn,
             "run.attention_library = \"cudnn\" can't be followed (", why,
             "). Use auto, which takes our kernels where cuDNN is not of use.");
  }
};

template <class Op>
bool launch_by_plan(Cuda& cuda, Op const& op) {
  if (!asks_library(op.shape.library)) return false;
  Use<Op> const use(cuda, op);
  if (use.planned) run(cuda, op, use.parts, use.planned->plan, use.workspace);
  return use.planned != nullptr;
}
template <class Op>
std::string prepare_plan(Cuda& cuda, Op const& op) {
  Use<Op> const use(cuda, op);
  return use.planned ? concat("cuDNN ", version_text(cudnnGetVersion())) : concat("our kernel (cuDNN: ", use.why, ")");
}

}  // namespace

bool launch_library(Cuda& cuda, Attention const& op) { return launch_by_plan(cuda, op); }
bool launch_library(Cuda& cuda, AttentionBackward const& op) {
  if (!asks_library(op.shape.library)) return false;
  LibraryParts const parts = library_parts(op, static_cast<std::int64_t>(cuda.workspace.size()));
  for (std::int64_t i = 0; i < part_count(op.shape, parts); ++i)
    if (!launch_by_plan(cuda, part_of(op, parts, i))) return false;  // the first: all have one plan
  return true;
}
std::string prepare_library(Cuda& cuda, Attention const& op) { return prepare_plan(cuda, op); }
std::string prepare_library(Cuda& cuda, AttentionBackward const& op) {
  LibraryParts const parts = library_parts(op, static_cast<std::int64_t>(cuda.workspace.size()));
  std::int64_t const count = part_count(op.shape, parts);
  return concat(prepare_plan(cuda, part_of(op, parts, 0)), count > 1 ? concat(", in ", count, " parts") : "");
}

}  // namespace selenite
