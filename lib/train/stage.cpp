#include "train/stage.hpp"

#include "core/text.hpp"
#include "kernels/cast/cast.hpp"
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
}  // namespace

StageState::StageState(Config const& config, ProcessGrid const& grid, Rank rank, Schedule const& schedule,
                       Purposes purpose)
    : config_(config),
      grid_(grid),
      rank_(rank),
      schedule_(schedule),
      purpose_(purpose),
      dtype_(compute_dtype(config.train.precision)) {
  chunk_ = std::make_unique<GptChunk>(config.model, grid, rank, ChunkSpec{0, config.model.layers, true, true}, dtype_,
                                      static_cast<std::uint64_t>(config.train.seed));
  parameters_ = chunk_->parameters();
  layout_ = flat_layout(parameters_, grid, rank, config.train.bucket_bytes);
  Stage const stage(grid.coord(rank, Axis::pipe));
  slot_total_ = purpose == Purposes::evaluation ? 1 : static_cast<std::size_t>(slots_needed(schedule, stage, Chunk(0)));
  lay_out(nullptr);
  walk();
}

Batch StageState::lay_out_batch(Arena& arena) const {
  Batch b;
  b.samples = config_.train.micro_batch, b.sequence = config_.model.sequence_length / grid_.size(Axis::context);
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
  batches_.clear();
  for (std::size_t i = 0; i < slot_total_; ++i) batches_.push_back(lay_out_batch(messages_));
  totals = messages_.allocate(DType::fp64, {2}), norm = messages_.allocate(DType::fp64, {1}),
  gradient_scale = messages_.allocate(DType::fp32, {1});
  footprint_.messages = messages_.peak();

  slots_.clear();
  std::int64_t offset = state + footprint_.messages;
  for (std::size_t i = 0; i < slot_total_; ++i)
    slots_.emplace_back("slot", at(offset), slot_bytes_), offset += base ? slot_bytes_ : 0;
  scratch_ = Arena("scratch", at(offset), scratch_bytes_);
  if (base)
    footprint_.slots = slot_bytes_ * static_cast<std::int64_t>(slot_total_), footprint_.scratch = scratch_bytes_;
}

/// Each kind of action once, with null memory, counts what it needs.
void StageState::walk() {
  Ctx ctx(place(), static_cast<Machine const*>(nullptr));
  GptChunk::Saved saved;
  forward_pass(ctx, *this, 0, saved);
  if (purpose_ == Purposes::training) {
    backward_pass(ctx, *this, 0, saved);
    sync_gradients(ctx, *this);
    optimizer_step(ctx, *this, 1, 0);
  } else {
    slots_[0].release(0);
  }
  slot_bytes_ = slots_[0].peak(), scratch_bytes_ = scratch_.peak();
  footprint_.slots = slot_bytes_ * static_cast<std::int64_t>(slot_total_), footprint_.scratch = scratch_bytes_;
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
          .save = &slots_[0],
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
  for (Arena const& s : slots_) f.slots += s.peak();
  f.messages = messages_.peak(), f.scratch = scratch_.peak();
  return f;
}

}  // namespace selenite
