#include "train/stage.hpp"

#include <algorithm>
#include <numeric>

#include "core/text.hpp"
#include "kernels/cast/cast.hpp"
#include "schedule/stages.hpp"
#include "train/balance.hpp"
#include "train/grad_sync.hpp"
#include "train/optimizer.hpp"
#include "train/passes.hpp"

namespace selenite {

std::vector<std::pair<std::string, std::int64_t>> Footprint::rows() const {
  std::vector<std::pair<std::string, std::int64_t>> labels{
      {"weights", weights}, {"gradients", gradients}, {"master", master},     {"moments", moments},
      {"slots", slots},     {"buckets", buckets},     {"messages", messages}, {"scratch", scratch}};
  if (nccl > 0) labels.emplace_back("nccl", nccl);
  return labels;
}
std::int64_t Footprint::total() const {
  std::int64_t sum = 0;
  for (auto const& [label, bytes] : rows()) sum += bytes;
  return sum;
}

std::vector<std::int64_t> chunk_layers(Config const& config, std::int64_t chunks) {
  std::string const& stages = config.layout.stages;
  if (stages == "auto") return balanced_layers(config, chunks);
  return stages.empty() ? even_split(config.model.layers, chunks) : parse_stages(stages, chunks, config.model.layers);
}

Schedules::Schedules(Config const& config) {
  for (std::int64_t const batch : BatchRamp(config.train).batches()) {
    auto const& made = by_batch.emplace(batch, make_schedule(config.layout, micro_batches(config, batch)));
    send_buffers = std::max(send_buffers, selenite::send_buffers(config.layout, made.first->second));
  }
}

std::vector<std::int64_t> Schedules::slots(Stage stage) const {
  std::vector<std::int64_t> most;
  for (auto const& [batch, schedule] : by_batch) {
    auto const needed = slots_needed(schedule.rows[static_cast<std::size_t>(*stage)], schedule.chunks);
    most.resize(needed.size(), 1);
    std::ranges::transform(most, needed, most.begin(), [](auto a, auto b) { return std::max(a, b); });
  }
  return most;
}

namespace {
/// Do the ranks of this job communicate by NCCL? As apps/common/job.cpp decides.
bool uses_nccl(RunConfig const& run, std::int64_t world) {
  return run.backend == BackendKind::cuda && world > 1 &&
         (run.comm == CommKind::automatic || run.comm == CommKind::nccl);
}
}  // namespace

StageState::StageState(Config const& config, ProcessGrid const& grid, Rank rank, Purposes purpose,
                       std::shared_ptr<Schedules const> schedules)
    : config_(config),
      grid_(grid),
      rank_(rank),
      ramp_(config.train),
      schedules_(schedules ? std::move(schedules) : std::make_shared<Schedules const>(config)),
      global_batch_(config.train.global_batch),
      loss_scale_(LossScale::initial(config.train).scale),
      purpose_(purpose),
      dtype_(compute_dtype(config.train.precision)) {
  make_chunks();
  make_buckets();
  lay_out(nullptr);
  Ctx ctx(place(), static_cast<Machine const*>(nullptr));
  walk(ctx);
  scratch_bytes_ = scratch_.peak();
  count_passes();
}

void StageState::prepare(Cuda& cuda) {
  if (config_.run.cuda_graphs && !captures_passes())
    cuda.notes.insert("run.cuda_graphs captures nothing here (tensor or context ranks exchange within every pass)");
  Ctx ctx(place(), cuda);
  walk(ctx);
  cuda.prepared = true;
}

void StageState::begin_step(Progress const& before) {
  global_batch_ = ramp_.batch(before.consumed);
  loss_scale_ = before.loss_scale.scale;
}

void StageState::make_chunks() {
  std::int64_t const stages = grid_.size(Axis::pipe), total = stages * schedule().chunks;
  auto const layers = chunk_layers(config_, total), slots = schedules_->slots(stage());
  for (std::int64_t c = 0; c < schedule().chunks; ++c) {
    ChunkState& chunk = chunks_.emplace_back();
    chunk.number = c * stages + *stage();
    auto const at = layers.begin() + chunk.number;
    ChunkSpec const spec{std::accumulate(layers.begin(), at, std::int64_t{0}), *at, chunk.number == 0,
                         chunk.number + 1 == total};
    chunk.model = std::make_unique<GptChunk>(config_, grid_, rank_, spec, dtype_,
                                             chunks_.front().model ? chunks_.front().model->embedding() : nullptr);
    ParameterList const list = chunk.model->parameters();
    chunk.first_parameter = parameters_.size();
    parameters_.insert(parameters_.end(), list.begin(), list.end());
    auto const sites = fp8_sites(config_, *chunk.model, chunk.first_parameter);
    fp8.sites.insert(fp8.sites.end(), sites.begin(), sites.end());
    if (purpose_ == Purposes::training) chunk.slots = static_cast<std::size_t>(slots[static_cast<std::size_t>(c)]);
    chunk.slot_bytes = INT64_MAX;
    chunk.saved.resize(chunk.slots);
  }
}

void StageState::make_buckets() {
  FlatRequest request{.grid = grid_,
                      .rank = rank_,
                      .bucket_bytes = config_.train.bucket_bytes,
                      .sharded = config_.train.optimizer_sharding > 0 && purpose_ == Purposes::training};
  for (ChunkState const& chunk : chunks_) {
    request.chunk_ends.push_back(chunk.first_parameter);
    for (std::size_t const start : chunk.model->starts()) request.may_end.push_back(chunk.first_parameter + start);
  }
  layout_ = flat_layout(parameters_, request);
  buckets.resize(layout_.buckets.size());
  for (std::size_t c = 0, b = 0; c < chunks_.size(); ++c) {
    std::size_t const end = c + 1 < chunks_.size() ? chunks_[c + 1].first_parameter : parameters_.size();
    chunks_[c].first_bucket = b;
    while (b < buckets.size() && layout_.buckets[b].first < end) ++b;
    chunks_[c].last_bucket = chunks_[c].buckets_left = b;
  }
}

bool StageState::narrows_gradients() const {
  return config_.train.gradient_reduce != Precision::fp32 &&
         grid_.size({Axis::context, Axis::expert, Axis::data}) > 1 && purpose_ == Purposes::training;
}

bool StageState::captures_passes() const {
  return config_.run.cuda_graphs && grid_.size({Axis::tensor, Axis::context, Axis::expert}) == 1;
}

bool StageState::overlaps(char const* what) const { return std::ranges::count(config_.layout.overlap, what) > 0; }

Rank StageState::holder(std::int64_t number) const {
  Coords at = grid_.coords(rank_);
  at[static_cast<std::size_t>(Axis::pipe)] = number % grid_.size(Axis::pipe);
  return grid_.rank(at);
}

Footprint const& StageState::use_slots(std::vector<std::int64_t> const& slots) {
  for (std::size_t c = 0; c < chunks_.size(); ++c) {
    chunks_[c].slots = static_cast<std::size_t>(slots[c]);
    chunks_[c].saved.resize(chunks_[c].slots);
    chunks_[c].slot.resize(chunks_[c].slots, chunks_[c].slot[0]);
  }
  lay_out_messages(static_cast<std::byte*>(nullptr));
  count_passes();
  return footprint_;
}

void StageState::lay_out_messages(std::byte* base) {
  messages_ = Arena("messages", base, INT64_MAX, device(), Arena::Use::permanent);
  for (ChunkState& chunk : chunks_) lay_out_messages(chunk);
  totals = messages_.allocate(DType::fp64, {2}), norm = messages_.allocate(DType::fp64, {1}),
  gradient_scale = messages_.allocate(DType::fp32, {1});
  footprint_.messages = messages_.peak();
}

void StageState::lay_out_messages(ChunkState& chunk) {
  chunk.batch.clear(), chunk.input.clear(), chunk.d_output.clear(), chunk.output.clear(), chunk.d_input.clear();
  bool const training = purpose_ == Purposes::training, split = splits_backward(schedule());
  ChunkSpec const& spec = chunk.model->spec();
  for (std::size_t i = 0; i < chunk.slots; ++i) {
    chunk.batch.push_back(lay_out_batch(messages_));
    Shape const boundary = chunk.model->boundary(chunk.batch.back());
    auto message = [&](bool wanted) { return wanted ? messages_.allocate(dtype_, boundary) : Tensor{}; };
    chunk.input.push_back(message(!spec.embedding));
    // weight gradients that come later need the output's gradient for as long
    if (i == 0 || split) chunk.d_output.push_back(message(training && !spec.head));
    for (std::int64_t s = 0; i == 0 && s < schedules_->send_buffers; ++s) {
      if (!spec.head) chunk.output.push_back(message(true));
      if (training && !spec.embedding) chunk.d_input.push_back(message(true));
    }
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
  Arena arena("state", base, INT64_MAX, device(), Arena::Use::permanent);
  Shape const all{layout_.elements}, own{layout_.owned_elements()};
  auto region = [&](DType dtype, Shape const& shape, std::int64_t& bytes, bool wanted) {
    std::int64_t const before = arena.mark();
    Tensor const t = wanted ? arena.allocate(dtype, shape) : Tensor{};
    bytes += arena.mark() - before;
    return t;
  };
  footprint_ = {};
  if (uses_nccl(config_.run, grid_.world())) footprint_.nccl = nccl_memory(grid_, rank_);
  weights = region(dtype_, all, footprint_.weights, true);
  std::int64_t const before_fp8 = arena.mark();
  lay_out_fp8(fp8, *this, arena);
  footprint_.weights += arena.mark() - before_fp8;
  gradients = region(DType::fp32, shards_gradients() ? own : all, footprint_.gradients, training);
  master = region(DType::fp32, own, footprint_.master, training && dtype_ != DType::fp32);
  moment1 = region(DType::fp32, own, footprint_.moments, training);
  moment2 = region(DType::fp32, own, footprint_.moments, training);
  std::int64_t state = arena.mark();
  auto at = [&](std::int64_t offset) { return base ? base + offset : nullptr; };
  buckets_ = Arena("buckets", at(state), INT64_MAX, device(), Arena::Use::permanent);
  if (training) lay_out_gradients(buckets_);
  footprint_.buckets = buckets_.peak();
  state += footprint_.buckets;
  bind_parameters();

  lay_out_messages(at(state));
  std::int64_t offset = state + footprint_.messages;
  for (ChunkState& chunk : chunks_) {
    chunk.slot.clear();
    for (std::size_t i = 0; i < chunk.slots; ++i)
      chunk.slot.emplace_back("slot", at(offset), chunk.slot_bytes, device()), offset += base ? chunk.slot_bytes : 0;
  }
  scratch_ = Arena("scratch", at(offset), scratch_bytes_, device());
  if (base) count_passes();
}

/// Where gradients are sharded, the buckets of a pass share memory in turns; the tied parameter's, which has parts from
/// both ends of the model, has its own.
void StageState::lay_out_gradients(Arena& arena) {
  lay_out_travelling(arena);
  std::vector<Tensor> shared, arriving;
  if (shards_gradients()) {
    std::int64_t largest = 0;
    for (Bucket const& b : layout_.buckets)
      if (!b.tied) largest = std::max(largest, b.count);
    for (std::size_t i = 0; i < bucket_memories(); ++i) {
      shared.push_back(arena.allocate(DType::fp32, {largest}));
      arriving.push_back(arena.allocate(DType::fp32, {largest / layout_.shards}));
    }
  }
  std::size_t turn = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    Bucket const& b = layout_.buckets[i];
    if (!shards_gradients()) {
      buckets[i].gradient = run_of(gradients, b.begin, b.count);
      continue;
    }
    std::int64_t const part = b.count / layout_.shards;
    buckets[i].gradient = b.tied ? arena.allocate(DType::fp32, {b.count}) : run_of(shared[turn], 0, b.count);
    buckets[i].arrived = b.tied ? arena.allocate(DType::fp32, {part}) : run_of(arriving[turn], 0, part);
    if (!b.tied) turn = (turn + 1) % shared.size();
  }
}

/// Buckets that may be under way together have memory of their own.
void StageState::lay_out_travelling(Arena& arena) {
  if (!narrows_gradients()) return;
  DType const dtype = compute_dtype(config_.train.gradient_reduce);
  std::int64_t largest = 0;
  for (Bucket const& b : layout_.buckets) largest = std::max(largest, b.count);
  Tensor const shared = overlaps_gradients() ? Tensor{} : arena.allocate(dtype, {largest});
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    std::int64_t const count = layout_.buckets[i].count;
    buckets[i].travelling = shared.defined() ? run_of(shared, 0, count) : arena.allocate(dtype, {count});
  }
}

void StageState::bind_parameters() {
  for (std::size_t b = 0; b < buckets.size(); ++b)
    for (std::size_t i = layout_.buckets[b].first; i < layout_.buckets[b].last; ++i) {
      Shape const shape = box_of(parameters_[i]->spec, grid_, rank_).count;
      Run const place = layout_.parameter(i);
      parameters_[i]->weight = run_of(weights, place).reshaped(shape);
      parameters_[i]->gradient =
          buckets[b].gradient.defined()
              ? run_of(buckets[b].gradient, place.begin - layout_.buckets[b].begin, place.count).reshaped(shape)
              : Tensor{};
    }
}

void StageState::count_passes() {
  footprint_.slots = 0, footprint_.scratch = scratch_bytes_;
  for (ChunkState const& chunk : chunks_) footprint_.slots += chunk.slot_bytes * static_cast<std::int64_t>(chunk.slots);
}

/// Each kind of action once, with null memory, counts what it needs.
void StageState::walk(Ctx& ctx) {
  for (std::size_t c = 0; c < chunks_.size(); ++c) {
    Chunk const chunk(static_cast<std::int64_t>(c));
    forward_pass(ctx, *this, chunk, Micro(0));
    if (purpose_ == Purposes::evaluation) {
      chunks_[c].slot[0].release(0);
    } else if (splits_backward(schedule())) {
      backward_input_pass(ctx, *this, chunk, Micro(0));
      backward_weight_pass(ctx, *this, chunk, Micro(0));
    } else {
      backward_pass(ctx, *this, chunk, Micro(0));
    }
    chunks_[c].slot_bytes = chunks_[c].slot[0].peak();
  }
  if (purpose_ == Purposes::training) {
    sync_gradients(ctx, *this);
    optimizer_step(ctx, *this, Progress{});
    initialize(ctx);
  }
}

void StageState::take_memory(Comm* comm) {
  std::int64_t const bytes = footprint_.allocation();
  if (device() == Device::cuda && comm) {
    memory_ = comm->allocate_memory(bytes);
    lent_ = std::make_unique<LentMemory>(*comm, memory_);
  } else {
    memory_ = Memory(bytes, device() == Device::cuda ? Memory::Kind::cuda : Memory::Kind::host);
  }
  lay_out(memory_.base());
  lay_out_staging();
}

void StageState::lay_out_staging() {
  for (ChunkState& chunk : chunks_) {
    chunk.host.clear();
    for (Batch const& batch : chunk.batch) chunk.host.push_back({batch, {}});
  }
  if (device() == Device::cpu) return;
  auto const lay_out_batches = [&](std::byte* base) {
    Arena arena("staging", base);
    for (ChunkState& chunk : chunks_)
      for (HostBatch& host : chunk.host) host.batch = lay_out_batch(arena);
    return arena.peak();
  };
  staging_ = Memory(lay_out_batches(nullptr), Memory::Kind::pinned);
  lay_out_batches(staging_.base());
}

Ctx::Place StageState::place() {
  return {.grid = grid_,
          .rank = rank_,
          .save = &chunks_[0].slot[0],
          .scratch = &scratch_,
          .workspace_budget = config_.run.workspace,
          .blocking_sends = config_.layout.blocking_sends,
          .cuda_graphs = captures_passes()};
}

Tensor StageState::owned(Tensor const& flat, OwnedRun const& run) const {
  return run_of(flat, flat.defined() && flat.count() == layout_.elements ? run.begin : run.at, run.count);
}

Tensor StageState::view(Tensor const& flat, std::size_t i) const {
  return run_of(flat, layout_.parameter(i)).reshaped(parameters_[i]->weight.shape());
}

void StageState::initialize(Ctx& ctx) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Init const& init = parameters_[i]->spec.init;
    for (OwnedRun const& run : layout_.owned({layout_.parameter(i)})) {
      if (init.rule == Init::Rule::one) ctx(Fill{.x = owned(exact_weights(), run), .value = 1});
      if (init.rule == Init::Rule::normal) draw(ctx, i, run);
    }
  }
  publish_weights(ctx, *this);
}

/// A run that begins and ends mid-row is cut out of whole rows, some at a time.
void StageState::draw(Ctx& ctx, std::size_t i, OwnedRun const& run) {
  constexpr std::int64_t elements_at_once = 1 << 18;
  Param const& p = parameters_[i]->spec;
  Box const box = box_of(p, grid_, rank_);
  std::int64_t const cols = box.count[-1], first = run.begin - layout_.offsets[i], last = first + run.count,
                     at_once = std::max<std::int64_t>(1, elements_at_once / cols);
  for (std::int64_t row = first / cols; row * cols < last; row += at_once) {
    std::int64_t const rows = std::min(at_once, (last + cols - 1) / cols - row), begin = std::max(first, row * cols),
                       end = std::min(last, (row + rows) * cols);
    ScopedMark const mark(ctx.scratch());
    Tensor const drawn = ctx.temporary(DType::fp32, {rows, cols});
    ctx(InitNormal{.x = drawn,
                   .seed = static_cast<std::uint64_t>(config_.train.seed),
                   .name_hash = name_hash(p.name),
                   .row0 = (p.shape.rank() == 2 ? box.begin[0] : 0) + row,
                   .col0 = box.begin[-1],
                   .logical_cols = p.shape[-1],
                   .std = p.init.std});
    ctx(Cast{.x = run_of(drawn.reshaped({rows * cols}), begin - row * cols, end - begin),
             .y = run_of(owned(exact_weights(), run), begin - first, end - begin)});
    if (!ctx.running()) return;  // none of the others needs more memory
  }
}

Footprint StageState::measured() const {
  Footprint f = footprint_;
  f.slots = 0;
  for (ChunkState const& chunk : chunks_)
    for (Arena const& s : chunk.slot) f.slots += s.peak();
  f.buckets = buckets_.peak(), f.messages = messages_.peak(), f.scratch = scratch_.peak();
  return f;
}

}  // namespace selenite
