#include "kernels/attention/library.hpp"

#include <algorithm>

#include "core/cuda.hpp"
#include "core/text.hpp"
#include "kernels/attention/mask.hpp"

namespace selenite {
namespace {

/// Positions that need not be read are indices.
PositionRuns known_runs(AttentionPlaces const& places) {
  return places.positions.defined() ? places.runs : PositionRuns{1, {0, 0}};
}
PlaceRange range_of(PositionRuns const& runs, int run, std::int64_t length) {
  std::int64_t const first = runs.first[static_cast<std::size_t>(run)], part = length / runs.count;
  return {static_cast<std::int32_t>(first), static_cast<std::int32_t>(first + part - 1), 0, 0};
}

bool has_documents(AttentionPlaces const& queries, AttentionPlaces const& keys) {
  return queries.document_starts.defined() || keys.document_starts.defined();
}
/// Whether a token's position is its index.
bool are_indices(PositionRuns const& runs) { return runs.count == 1 && runs.first[0] == 0; }

/// How much the runs of queries see of the runs of keys.
struct RunsSeen {
  int queries = 0, keys = 0;
  std::array<std::array<Seen, 2>, 2> of{};
  bool diagonal = true;  ///< runs that are seen in part begin where the queries' do

  bool all(int first_query, int first_key) const {
    for (int i = 0; i < queries; ++i)
      for (int j = 0; j < keys; ++j) {
        bool const inside = i >= first_query && j >= first_key;
        if (at(i, j) != (inside ? Seen::all : Seen::nothing)) return false;
      }
    return true;
  }
  /// The first keys by all queries.
  bool front_keys() const {
    for (int i = 0; i < queries; ++i)
      if (at(i, 0) != Seen::all || (keys > 1 && at(i, 1) != Seen::nothing)) return false;
    return true;
  }
  /// Of equally many runs, each its own in part, those before it whole, those after it not at all.
  bool causal() const {
    if (queries != keys || !diagonal) return false;
    for (int i = 0; i < queries; ++i)
      for (int j = 0; j < keys; ++j)
        if (at(i, j) != (i == j ? Seen::some : j < i ? Seen::all : Seen::nothing)) return false;
    return true;
  }
  Seen at(int i, int j) const { return of[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)]; }
};

RunsSeen runs_seen(AttentionShape const& s, PositionRuns const& queries, PositionRuns const& keys) {
  RunsSeen seen_runs{.queries = queries.count, .keys = keys.count};
  for (int i = 0; i < queries.count; ++i)
    for (int j = 0; j < keys.count; ++j) {
      PlaceRange const q = range_of(queries, i, s.queries), k = range_of(keys, j, s.keys);
      Seen const what = seen(true, q, k);
      seen_runs.of[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] = what;
      if (what == Seen::some) seen_runs.diagonal &= q.first == k.first;
    }
  if (queries.count == 2) seen_runs.diagonal &= s.queries == s.keys;
  return seen_runs;
}

template <class Op>
SeenBlock block_of(Op const& op) {
  return *seen_block(op.shape, op.query_places, op.key_places);
}

constexpr std::int64_t row_alignment = 16;  // bytes, of every row of every tensor
bool rows_aligned(Tensor const& x) {
  return x.row_stride() * size_of(x.dtype()) % row_alignment == 0 &&
         reinterpret_cast<std::uintptr_t>(x.raw()) % row_alignment == 0;
}

template <class Op>
std::string refusal_of_problem(Op const& op) {
  AttentionShape const& s = op.shape;
  DType const type = op.q.dtype();
  if (!asks_library(s.library))
    return concat("run.attention_library is \"own", s.library == AttentionLibrary::own_sm80 ? "_sm80\"" : "\"");
  if (type != DType::bf16 && type != DType::fp16) return concat("it has no attention in ", name(type));
  if (s.dropout.probability > 0) return "its dropout draws other masks under another layout";
  bool const documents = has_documents(op.query_places, op.key_places);
  if (documents && s.library == AttentionLibrary::automatic)
    return "our kernel skips what other documents have, which it does not";
  if (s.head_dim % 8 != 0 || s.head_dim > 256)
    return concat("it takes heads of sizes up to 256 in steps of 8, not ", s.head_dim);
  std::optional<SeenBlock> const block = seen_block(s, op.query_places, op.key_places);
  if (!block && documents) return "it takes document masks of whole samples alone, and causal ones";
  if (!block) return "positions are not known to the host, or its masks don't cover them";
  if (block->queries < 2 || block->keys < 2) return "a single query or key is too few for it";
  return "";
}

std::string refusal_of_rows(std::initializer_list<Tensor const*> tensors) {
  for (Tensor const* x : tensors)
    if (!rows_aligned(*x)) return concat("rows of its tensors begin at multiples of ", row_alignment, " bytes");
  return "";
}

AttentionPlaces rows_of(AttentionPlaces const& places, std::int64_t first, std::int64_t count) {
  auto const rows = [&](Tensor const& x) { return x.defined() ? x.row_range(first, count) : x; };
  return {rows(places.positions), rows(places.document_starts), places.runs};
}

template <class Op>
std::string refusal_of_scratch(Op const& op, std::int64_t workspace) {
  std::int64_t const bytes = library_bytes(op);
  if (bytes <= workspace) return "";
  return concat("it needs ", format_bytes(static_cast<double>(bytes)), " of scratch here; raise run.workspace to ",
                bytes, op.shape.deterministic ? " or set train.deterministic = false" : "");
}

}  // namespace

std::optional<SeenBlock> seen_block(AttentionShape const& s, AttentionPlaces const& query_places,
                                    AttentionPlaces const& key_places) {
  if (has_documents(query_places, key_places)) {
    bool const whole =
        s.queries == s.keys && are_indices(known_runs(query_places)) && are_indices(known_runs(key_places));
    if (s.library != AttentionLibrary::cudnn || !s.causal || !whole || !query_places.document_starts.defined())
      return std::nullopt;
    return SeenBlock{0, s.queries, 0, s.keys, true, true};
  }
  SeenBlock const everything{0, s.queries, 0, s.keys, false};
  if (!s.causal) return everything;
  PositionRuns const queries = known_runs(query_places), keys = known_runs(key_places);
  if (queries.count == 0 || keys.count == 0 || s.queries % queries.count != 0 || s.keys % keys.count != 0)
    return std::nullopt;
  RunsSeen const seen_runs = runs_seen(s, queries, keys);
  if (seen_runs.causal()) return SeenBlock{0, s.queries, 0, s.keys, true};
  if (seen_runs.all(0, 0)) return everything;
  if (queries.count == 2 && seen_runs.all(1, 0)) return SeenBlock{s.queries / 2, s.queries / 2, 0, s.keys, false};
  if (keys.count == 2 && seen_runs.front_keys()) return SeenBlock{0, s.queries, 0, s.keys / 2, false};
  return std::nullopt;
}

LibraryForward place_library(Attention const& op, Arena& arena) {
  AttentionShape const& s = op.shape;
  LibraryForward made{.block = block_of(op)};
  SeenBlock const& b = made.block;
  if (op.merge || op.out.dtype() != op.q.dtype() || b.queries != s.queries) {
    made.out = arena.allocate(op.q.dtype(), {s.samples * b.queries, s.heads * s.head_dim});
    made.logsumexp = arena.allocate(DType::fp32, {s.samples, s.heads, b.queries});
  }
  made.plan_bytes = Arena::alignment;  // as its plans say (9.19, Hopper)
  return made;
}

LibraryBackward place_library(AttentionBackward const& op, Arena& arena) {
  AttentionShape const& s = op.shape;
  LibraryBackward made{.block = block_of(op)};
  SeenBlock const& b = made.block;
  DType const type = op.q.dtype();
  if (b.queries != s.queries) {
    made.logsumexp = arena.allocate(DType::fp32, {s.samples, s.heads, b.queries});
    made.delta = arena.allocate(DType::fp32, {s.samples, s.heads, b.queries});
  }
  if (!s.deterministic) made.dq_sums = arena.allocate(DType::fp32, {s.samples, s.heads, b.queries, s.head_dim});
  auto part = [&](Tensor const& whole, std::int64_t tokens, std::int64_t all) {
    bool const direct = !op.accumulate && whole.dtype() == type && tokens == all;
    return direct ? Tensor{} : arena.allocate(type, {s.samples * tokens, whole.cols()});
  };
  made.dq = part(op.dq, b.queries, s.queries), made.dk = part(op.dk, b.keys, s.keys),
  made.dv = part(op.dv, b.keys, s.keys);
  // As its plans say (9.19, Hopper): dk and dv of each query head where heads share them, and for sums in a fixed order
  // dP of whole blocks.
  constexpr std::int64_t tile = 128;
  made.plan_bytes = Arena::alignment;
  if (s.heads != s.kv_heads) made.plan_bytes += 2 * size_of(type) * s.samples * s.heads * b.keys * s.head_dim;
  if (s.deterministic)
    made.plan_bytes += size_of(type) * s.samples * s.heads * align_up(b.queries, tile) * align_up(b.keys, tile);
  return made;
}

std::int64_t library_bytes(Attention const& op) {
  Arena arena("attention");
  LibraryForward const made = place_library(op, arena);
  return arena.peak() + made.plan_bytes;
}
std::int64_t library_bytes(AttentionBackward const& op) {
  Arena arena("attention");
  LibraryBackward const made = place_library(op, arena);
  return arena.peak() + made.plan_bytes;
}

LibraryParts library_parts(AttentionBackward const& op, std::int64_t workspace) {
  AttentionShape const& s = op.shape;
  LibraryParts const whole{s.samples, s.kv_heads};
  if (!seen_block(s, op.query_places, op.key_places)) return whole;
  // it is told that statistics, fp32 of a query and head, and document starts begin at such addresses, too
  if (s.queries * size_of(DType::fp32) % row_alignment != 0) return whole;
  auto const largest = [&](std::int64_t all, auto&& parts_of) {
    for (std::int64_t n = all; n > 0; --n)
      if (all % n == 0 && library_bytes(part_of(op, parts_of(n), 0)) <= workspace) return n;
    return std::int64_t{0};
  };
  if (std::int64_t const n = largest(s.samples, [&](std::int64_t i) { return LibraryParts{i, s.kv_heads}; }); n > 0)
    return {n, s.kv_heads};
  return {1, std::max<std::int64_t>(1, largest(s.kv_heads, [](std::int64_t i) { return LibraryParts{1, i}; }))};
}

std::int64_t part_count(AttentionShape const& s, LibraryParts const& parts) {
  return s.samples / parts.samples * (s.kv_heads / parts.kv_heads);
}

AttentionBackward part_of(AttentionBackward const& op, LibraryParts const& parts, std::int64_t index) {
  AttentionShape const& s = op.shape;
  std::int64_t const by_heads = s.kv_heads / parts.kv_heads, group = s.heads / s.kv_heads,
                     heads = parts.kv_heads * group;
  std::int64_t const sample = index / by_heads * parts.samples, kv_head = index % by_heads * parts.kv_heads,
                     head = kv_head * group;
  AttentionBackward part = op;
  part.shape.samples = parts.samples, part.shape.heads = heads, part.shape.kv_heads = parts.kv_heads;
  part.shape.first_head += head;
  for (Tensor AttentionBackward::*t :
       {&AttentionBackward::q, &AttentionBackward::out, &AttentionBackward::dout, &AttentionBackward::dq})
    if ((op.*t).defined())
      part.*t = (op.*t)
                    .row_range(sample * s.queries, parts.samples * s.queries)
                    .columns(head * s.head_dim, heads * s.head_dim);
  for (Tensor AttentionBackward::*t :
       {&AttentionBackward::k, &AttentionBackward::v, &AttentionBackward::dk, &AttentionBackward::dv})
    part.*t = (op.*t)
                  .row_range(sample * s.keys, parts.samples * s.keys)
                  .columns(kv_head * s.head_dim, parts.kv_heads * s.head_dim);
  for (Tensor AttentionBackward::*t : {&AttentionBackward::logsumexp, &AttentionBackward::delta})
    part.*t = (op.*t)
                  .reshaped({s.samples * s.heads, s.queries})
                  .row_range(sample * s.heads + head, parts.samples * heads)
                  .reshaped({parts.samples, heads, s.queries});
  part.query_places = rows_of(op.query_places, sample, parts.samples);
  part.key_places = rows_of(op.key_places, sample, parts.samples);
  if (op.sample_ids.defined()) part.sample_ids = op.sample_ids.columns(sample, parts.samples);
  return part;
}

std::string library_refusal(Attention const& op, std::int64_t workspace) {
  std::string why = refusal_of_problem(op);
  if (why.empty()) why = refusal_of_rows({&op.q, &op.k, &op.v, &op.out});
  return why.empty() ? refusal_of_scratch(op, workspace) : why;
}
std::string library_refusal(AttentionBackward const& op, std::int64_t workspace) {
  std::string why = refusal_of_problem(op);
  if (why.empty() && (!op.out.defined() || op.out.dtype() != op.q.dtype()))
    why = concat("it makes delta from an output in ", name(op.q.dtype()));
  if (why.empty()) why = refusal_of_rows({&op.q, &op.k, &op.v, &op.dout, &op.out, &op.dq, &op.dk, &op.dv});
  return why.empty() ? refusal_of_scratch(part_of(op, library_parts(op, workspace), 0), workspace) : why;
}

void prepare(Cuda& cuda, Attention const& op) {
  cuda.notes.insert(concat("Flash attention, forward: ", prepare_library(cuda, op), "."));
}
void prepare(Cuda& cuda, AttentionBackward const& op) {
  cuda.notes.insert(concat("Flash attention, backward: ", prepare_library(cuda, op), "."));
}

}  // namespace selenite
