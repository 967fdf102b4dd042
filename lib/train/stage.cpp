#include "train/stage.hpp"

#include <algorithm>
#include <numeric>

#include "core/text.hpp"
#include "kernels/cast/cast.hpp"
#include "schedule/stages.hpp"
#include "train/passes.hpp"

namespace selenite {

std::vector<std::pair<std::string, std::int64_t>> Footprint::rows() const {
  return {{"weights", weights}, {"gradients", gradients}, {"master", master},  {"moments", moments},
          {"slots", slots},     {"messages", messages},   {"scratch", scratch}};
}
std::int64_t Footprint::total() const {
  std::int64_t sum = 0;
  for (auto const& [label, bytes] : rows()) sum += bytes;
  return sum;
}

namespace {
DType compute_dtype(Precision precision) {
  return precision == Precision::fp32 ? DType::fp32 : precision == Precision::fp16 ? DType::fp16 : DType::bf16;
}

bool splits_backward(Schedule const& schedule) {
  auto const& row = schedule.rows[0];
  return std::any_of(row.begin(), row.end(), [](Action a) { return a.what == What::backward_weight; });
}
}  // namespace

std::vector<std::int64_t> chunk_layers(Config const& config, std::int64_t chunks) {
  return config.layout.stages.empty() ? even_split(config.model.layers, chunks)
                                      : parse_stages(config.layout.stages, chunks);
}

StageState::StageState(Config const& config, ProcessGrid const& grid, Rank rank, Schedule const& schedule,
                       Purposes purpose)
    : config_(config),
      grid_(grid),
      rank_(rank),
      schedule_(schedule),
      purpose_(purpose),
      dtype_(compute_dtype(config.train.precision)) {
  make_chunks();
  layout_ = flat_layout(parameters_, grid, rank, config.train.bucket_bytes);
  lay_out(nullptr);
  walk();
}

void StageState::make_chunks() {
  std::int64_t const stages = grid_.size(Axis::pipe), total = stages * schedule_.chunks;
  auto const layers = chunk_layers(config_, total);
  for (std::int64_t c = 0; c < schedule_.chunks; ++c) {
    ChunkState& chunk = chunks_.emplace_back();
    chunk.number = c * stages + *stage();
    auto const at = layers.begin() + chunk.number;
    ChunkSpec const spec{std::accumulate(layers.begin(), at, std::int64_t{0}), *at, chunk.number == 0,
                         chunk.number + 1 == total};
    chunk.model = std::make_unique<GptChunk>(config_, grid_, rank_, spec, dtype_, chunks_.front().model
                                                                                     ? chunks_.front().model->embedding()
                                                                                     : nullptr);
    ParameterList const list = chunk.model->parameters();
    parameters_.insert(parameters_.end(), list.begin(), list.end());
    if (purpose_ == Purposes::training)
      chunk.slots = static_cast<std::size_t>(slots_needed(schedule_, stage(), Chunk(c)));
    chunk.slot_bytes = INT64_MAX;
    chunk.saved.resize(chunk.slots);
  }
}

Rank StageState::holder(std::int64_t number) const {
  Coords at = grid_.coords(rank_);
  at[static_cast<std::size_t>(Axis::pipe)] = number % grid_.size(Axis::pipe);
  return grid_.rank(at);
}

void StageState::lay_out_messages(ChunkState& chunk) {
  chunk.batch.clear(), chunk.input.clear(), chunk.d_output.clear();
  bool const training = purpose_ == Purposes::training, split = splits_backward(schedule_);
  ChunkSpec const& spec = chunk.model->spec();
  for (std::size_t i = 0; i < chunk.slots; ++i) {
    chunk.batch.push_back(lay_out_batch(messages_));
    Shape const boundary = chunk.model->boundary(chunk.batch.back());
    auto message = [&](bool wanted) { return wanted ? messages_.allocate(dtype_, boundary) : Tensor{}; };
    chunk.input.push_back(message(!spec.embedding));
    // weight gradients that come later need the output's gradient for as long
    if (i == 0 || split) chunk.d_output.push_back(message(training && !spec.head));
    if (i == 0) chunk.output = message(!spec.head), chunk.d_input = message(training && !spec.embedding);
  }
}

Batch StageState::lay_out_batch(Arena& arena) const {
  Batch b;
  b.samples = config_.train.micro_batch, b.context_ranks = grid_.size(Axis::context),
  b.context_index = grid_.coord(rank_, Axis::context);
  b.sequence = config_.model.sequence_length / b.context_ranks;
  Shape const tokens{b.count()};
  for (Tensor* t : {&b.tokens, &b.labels, &b.positions, &b.places}) *t = arena.allocate(DType::int32, tokens);
  b.weights = arena.allocate(DType::uint8, tokens);
  b.document_starts =
      config_.data.document_mask == DocumentMask::none ? Tensor{} : arena.allocate(DType::int32, tokens);
  b.token_samples = arena.allocate(DType::int64, tokens);
  b.sample_ids = arena.allocate(DType::int64, {b.samples});
  return b;
}

void StageState::lay_out(std::byte* base) {
  bool const training = purpose_ == Purposes::training;
  Arena arena("state", base, INT64_MAX, Device::cpu, Arena::Use::permanent);
  Shape const flat{layout_.elements};
  auto region = [&](DType dtype, std::int64_t& bytes, bool wanted) {
    std::int64_t const before = arena.mark();
    Tensor const t = wanted ? arena.allocate(dtype, flat) : Tensor{};
    bytes += arena.mark() - before;
    return t;
  };
  footprint_ = {};
  weights = region(dtype_, footprint_.weights, true);
  gradients = region(DType::fp32, footprint_.gradients, training);
  master = region(DType::fp32, footprint_.master, training && dtype_ != DType::fp32);
  moment1 = region(DType::fp32, footprint_.moments, training);
  moment2 = region(DType::fp32, footprint_.moments, training);
  bind_parameters(parameters_, layout_, grid_, rank_, weights, gradients);
  std::int64_t const state = arena.mark();
  auto at = [&](std::int64_t offset) { return base ? base + offset : nullptr; };

  messages_ = Arena("messages", at(state), INT64_MAX, Device::cpu, Arena::Use::permanent);
  for (ChunkState& chunk : chunks_) lay_out_messages(chunk);
  totals = messages_.allocate(DType::fp64, {2}), norm = messages_.allocate(DType::fp64, {1}),
  gradient_scale = messages_.allocate(DType::fp32, {1});
  footprint_.messages = messages_.peak();

  std::int64_t offset = state + footprint_.messages;
  for (ChunkState& chunk : chunks_) {
    chunk.slot.clear();
    for (std::size_t i = 0; i < chunk.slots; ++i)
      chunk.slot.emplace_back("slot", at(offset), chunk.slot_bytes), offset += base ? chunk.slot_bytes : 0;
  }
  scratch_ = Arena("scratch", at(offset), scratch_bytes_);
  if (base) count_passes();
}

void StageState::count_passes() {
  footprint_.slots = 0, footprint_.scratch = scratch_bytes_;
  for (ChunkState const& chunk : chunks_) footprint_.slots += chunk.slot_bytes * static_cast<std::int64_t>(chunk.slots);
}

/// Each kind of action once, with null memory, counts what it needs.
void StageState::walk() {
  Ctx ctx(place(), static_cast<Machine const*>(nullptr));
  for (std::size_t c = 0; c < chunks_.size(); ++c) {
    Chunk const chunk(static_cast<std::int64_t>(c));
    forward_pass(ctx, *this, chunk, Micro(0));
    if (purpose_ == Purposes::evaluation) {
      chunks_[c].slot[0].release(0);
    } else if (splits_backward(schedule_)) {
      backward_input_pass(ctx, *this, chunk, Micro(0));
      backward_weight_pass(ctx, *this, chunk, Micro(0));
    } else {
      backward_pass(ctx, *this, chunk, Micro(0));
    }
    chunks_[c].slot_bytes = chunks_[c].slot[0].peak();
  }
  if (purpose_ == Purposes::training) {
    sync_gradients(ctx, *this);
    optimizer_step(ctx, *this, 1, 0);
  }
  scratch_bytes_ = scratch_.peak();
  count_passes();
}

void StageState::require_memory() const {
  if (footprint_.total() <= available_memory()) return;
  std::string room;
  for (auto const& [label, bytes] : footprint_.rows())
    room += concat(room.empty() ? "" : ", ", label, " ", format_bytes(static_cast<double>(bytes)));
  throw Error(concat("The run needs ", format_bytes(static_cast<double>(footprint_.total())),
                     " of memory a rank, but this machine has ", format_bytes(static_cast<double>(available_memory())),
                     " left (", room,
                     "). Lower train.micro_batch (slots and scratch), use a smaller model (weights, gradients, master, "
                     "moments), or more memory."));
}

void StageState::take_memory() {
  require_memory();
  memory_ = Memory(footprint_.total());
  lay_out(memory_.base());
}

Ctx::Place StageState::place() {
  return {.grid = grid_,
          .rank = rank_,
          .save = &chunks_[0].slot[0],
          .scratch = &scratch_,
          .workspace_budget = config_.run.workspace};
}

Tensor StageState::view(Tensor const& flat, std::size_t i) const {
  return Tensor(flat.raw() ? flat.raw() + layout_.offsets[i] * size_of(flat.dtype()) : nullptr, flat.dtype(),
                parameters_[i]->weight.shape(), flat.device());
}

void StageState::initialize(Ctx& ctx) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Param const& p = parameters_[i]->spec;
    Tensor const target = view(exact_weights(), i);
    if (p.init.rule == Init::Rule::one) ctx(Fill{.x = target, .value = 1});
    if (p.init.rule != Init::Rule::normal) continue;
    Box const box = box_of(p, grid_, rank_);
    bool const matrix = p.shape.rank() == 2;
    ctx(InitNormal{.x = target,
                   .seed = static_cast<std::uint64_t>(config_.train.seed),
                   .name_hash = name_hash(p.name),
                   .row0 = matrix ? box.begin[0] : 0,
                   .col0 = box.begin[-1],
                   .logical_cols = p.shape[-1],
                   .std = p.init.std});
  }
  if (master.defined()) ctx(Cast{.x = master, .y = weights});
}

Footprint StageState::measured() const {
  Footprint f = footprint_;
  f.slots = 0;
  for (ChunkState const& chunk : chunks_)
    for (Arena const& s : chunk.slot) f.slots += s.peak();
  f.messages = messages_.peak(), f.scratch = scratch_.peak();
  return f;
}

}  // namespace selenite
