#include "plan/bounds.hpp"

#include <algorithm>
#include <numeric>

#include "schedule/schedule.hpp"
#include "train/grad_sync.hpp"
#include "train/optimizer.hpp"
#include "train/passes.hpp"

namespace selenite {
namespace {

/// Whether the backward pass comes in two halves.
bool splits(std::int64_t pipe, ScheduleKind kind) {
  return pipe > 1 && (kind == ScheduleKind::zero_bubble || kind == ScheduleKind::zero_bubble_h2);
}
bool splits(Choice const& c) { return splits(c.pipe, c.schedule); }

/// A stage with its passes walked once.
struct Walked {
  double forward = 0, backward = 0, weight = 0;
  std::int64_t slot = 0, elements = 0, copied = 0, scratch = 0;

  Walked(Config const& config, std::int64_t number, Machine const& machine) {
    ProcessGrid const grid = make_grid(config.layout);
    StageState stage(config, grid, grid.rank({0, 0, 0, 0, number}));
    Ctx ctx(stage.place(), &machine);
    auto timed = [&](auto pass) {
      double const before = ctx.elapsed();
      pass(ctx, stage, Chunk(0), Micro(0));
      return ctx.elapsed() - before;
    };
    forward = timed(forward_pass);
    if (splits(config.layout.pipe, config.layout.schedule)) {
      backward = timed(backward_input_pass), weight = timed(backward_weight_pass);
    } else {
      backward = timed(backward_pass);
    }
    slot = stage.chunk().slot_bytes, scratch = stage.footprint().scratch;
    auto const& counts = stage.layout().counts;
    for (std::size_t i = 0; i < counts.size(); ++i)
      (stage.parameters()[i]->spec.second_copy ? copied : elements) += counts[i];
  }
};

/// Ranks that fill nodes, so that groups lie as they do in the layouts that are asked for.
std::int64_t whole_nodes(std::int64_t ranks, Machine const& machine) {
  std::int64_t const node = std::max<std::int64_t>(machine.cluster.ranks_per_node, 1);
  return node / std::gcd(node, ranks);
}

}  // namespace

/// They do not depend on context and batch, which are those that are walked fastest.
Bounds::Elements const& Bounds::elements(Choice const& choice) {
  if (elements_) return *elements_;
  Config c = Choice{.tensor = choice.tensor}.apply(config_);
  c.model.layers = 3, c.layout.pipe = 3, c.layout.stages.clear();
  c.train.global_batch = 1, c.train.batch_ramp.clear(), c.train.steps = c.train.samples = 0;
  c = resolve(c, 3 * choice.tensor);
  Walked const first(c, 0, machine_), one(c, 1, machine_), last(c, 2, machine_);
  return elements_.emplace(
      Elements{one.elements, first.elements - one.elements, last.elements - one.elements, last.copied});
}

Bounds::Parts Bounds::measure(Choice const& choice) const {
  Config c = choice.apply(config_);
  c.model.layers = 5, c.layout.pipe = 4, c.layout.stages = "1,1,2,1", c.layout.interleave = 1;
  c.layout.schedule = splits(choice) ? ScheduleKind::zero_bubble : ScheduleKind::one_f_one_b;
  std::erase_if(c.layout.overlap, [](auto const& what) { return what != "tensor"; });
  c.layout.data = whole_nodes(choice.tensor * choice.context, machine_);
  c.train.optimizer_sharding = 0, c.train.recompute_layers = 1;
  c.train.global_batch = choice.micro_batch * c.layout.data, c.train.batch_ramp.clear();
  c.train.steps = c.train.samples = 0;
  c = resolve(c, c.layout.tensor * c.layout.context * c.layout.data * c.layout.pipe);
  Walked const first(c, 0, machine_), one(c, 1, machine_), two(c, 2, machine_), last(c, 3, machine_);
  Parts parts;
  parts.block = {std::min(one.forward, two.forward - one.forward), std::min(one.backward, two.backward - one.backward),
                 std::min(one.weight, two.weight - one.weight), one.slot};
  auto extra = [&](Walked const& with) {
    return Part{with.forward - one.forward, with.backward - one.backward, with.weight - one.weight,
                with.slot - one.slot};
  };
  parts.embedding = extra(first), parts.head = extra(last);
  parts.slot_between = two.slot - one.slot;
  parts.scratch = one.scratch;
  if (choice.recompute == Recompute::full) {
    c.train.recompute_layers = 2;
    parts.scratch_more = Walked(c, 2, machine_).scratch - two.scratch;
  }
  return parts;
}

Bounds::Parts const& Bounds::parts(Choice const& c) {
  Key const key(c.micro_batch, c.sequence_parallel, c.recompute, splits(c));
  auto const known = parts_.find(key);
  return known != parts_.end() ? known->second : parts_.emplace(key, measure(c)).first->second;
}

double Bounds::bytes_of_an_element(Choice const& choice) {
  std::int64_t const shards = choice.context * choice.data;
  auto const [at, fresh] = element_bytes_.emplace(std::pair(shards, choice.optimizer_sharding), 0);
  if (!fresh) return at->second;
  Config c = config_;
  c.model = {.layers = 1, .hidden = 8, .heads = 1, .vocab_size = 8, .vocab_multiple = 8, .sequence_length = 8};
  c.layout = {.data = shards};
  c.train.micro_batch = 1, c.train.global_batch = shards, c.train.batch_ramp.clear();
  c.train.steps = c.train.samples = 0;
  c.train.recompute = Recompute::none, c.train.optimizer_sharding = choice.optimizer_sharding;
  c = resolve(c, shards);
  StageState const stage(c, make_grid(c.layout), Rank(0));
  Footprint const& f = stage.footprint();
  return at->second = static_cast<double>(f.weights + f.gradients + f.master + f.moments) /
                      static_cast<double>(stage.layout().elements);
}

Bounds::Bounds(Config const& config, Machine const& machine, std::shared_ptr<Slots> slots)
    : config_(config), machine_(machine), slots_(slots ? std::move(slots) : std::make_shared<Slots>()) {}

std::vector<std::int64_t> const& Bounds::Slots::of(LayoutConfig const& l, std::int64_t micros, std::int64_t stage) {
  Key const key(l.pipe, l.interleave, l.schedule, micros, stage);
  {
    std::lock_guard const lock(mutex_);
    if (auto const known = known_.find(key); known != known_.end()) return known->second;
  }
  auto slots = slots_needed(make_row(l, micros, Stage(stage)), l.interleave);
  std::lock_guard const lock(mutex_);
  return known_.emplace(key, std::move(slots)).first->second;  // elements of a map stay where they are
}

/// Between two and four blocks, so that nothing counts that a call costs whatever its size.
Bounds::Update const& Bounds::update(Choice const& choice) {
  auto const [at, fresh] = updates_.emplace(std::pair(choice.data, choice.optimizer_sharding), Update());
  if (!fresh) return at->second;
  Config c = choice.apply(config_);
  c.model.layers = 8, c.layout.pipe = 4, c.layout.stages = "1,2,4,1", c.layout.interleave = 1;
  c.layout.schedule = ScheduleKind::one_f_one_b, c.layout.sequence_parallel = false;
  c.train.recompute = Recompute::none, c.train.bucket_bytes = std::int64_t{1} << 60;
  // gradients that are sharded go to their owners in every pass, as others do once a step
  c.train.micro_batch = 1, c.train.global_batch = c.layout.data, c.train.batch_ramp.clear();
  c.train.steps = c.train.samples = 0;
  auto const walked = [&](std::int64_t number, std::int64_t sharding) {
    Config once = c;
    once.train.optimizer_sharding = sharding;
    once = resolve(once, c.layout.tensor * c.layout.context * c.layout.data * c.layout.pipe);
    ProcessGrid const grid = make_grid(once.layout);
    StageState stage(once, grid, grid.rank({0, 0, 0, 0, number}));
    Ctx ctx(stage.place(), &machine_);
    sync_gradients(ctx, stage);
    double const synced = ctx.elapsed();
    optimizer_step(ctx, stage, Progress{});
    return Update{synced, ctx.elapsed() - synced};
  };
  auto const slope = [&](std::int64_t sharding) {
    Update const few = walked(1, sharding), more = walked(2, sharding);
    return Update{std::max(0.0, more.sync - few.sync) / 2, std::max(0.0, more.step - few.step) / 2};
  };
  Update update = slope(choice.optimizer_sharding);
  if (choice.optimizer_sharding == 2) update.sync = slope(1).sync;
  if (std::ranges::count(config_.layout.overlap, "gradients")) update.sync = 0;
  return at->second = update;
}

double Bounds::rest(Choice const& c, std::vector<std::int64_t> const& layers) {
  Update const& update = this->update(c);
  auto const micros = static_cast<double>(config_.train.global_batch / (c.micro_batch * c.data));
  std::int64_t fewest = INT64_MAX;
  for (std::int64_t s = 0; s < c.pipe; ++s) {
    std::int64_t blocks = 0;
    for (std::int64_t part = s; part < c.pipe * c.interleave; part += c.pipe)
      blocks += layers[static_cast<std::size_t>(part)];
    fewest = std::min(fewest, blocks);
  }
  double const block = update.sync * (c.optimizer_sharding == 2 ? micros : 1) + update.step;
  return static_cast<double>(fewest) * block * (1 - rounding);
}

double Bounds::passes(Choice const& c, std::vector<std::int64_t> const& layers) {
  Parts const& parts = this->parts(c);
  std::int64_t const last = c.pipe * c.interleave - 1;
  auto const micros = static_cast<double>(config_.train.global_batch / (c.micro_batch * c.data));
  auto blocks = [&](std::int64_t part) { return static_cast<double>(layers[static_cast<std::size_t>(part)]); };
  double most = 0, there = 0, back = 0;  // the way of a micro-batch to the stage, and back from it
  for (std::int64_t s = 0; s < c.pipe; ++s) {
    double pass = s == 0 ? parts.embedding.all() : 0;
    for (std::int64_t part = s; part <= last; part += c.pipe) pass += blocks(part) * parts.block.all();
    if (s + 1 == c.pipe) pass += parts.head.all();
    most = std::max(most, there + micros * pass + (splits(c) ? 0 : back));
    there += blocks(s) * parts.block.forward + (s == 0 ? parts.embedding.forward : 0);
    back += blocks(s) * parts.block.backward + (s == 0 ? parts.embedding.backward : 0);
  }
  return most * (1 - rounding);
}

double Bounds::state_bytes(std::int64_t stage, Choice const& c, std::vector<std::int64_t> const& layers) {
  Elements const& each = elements(c);
  std::int64_t count = 0;
  for (std::int64_t part = stage; part < c.pipe * c.interleave; part += c.pipe)
    count += layers[static_cast<std::size_t>(part)] * each.block;
  if (stage == 0) count += each.embedding;
  if (stage + 1 == c.pipe) count += each.head + (c.pipe > 1 ? each.copied : 0);
  return static_cast<double>(count) * bytes_of_an_element(c) * (1 - rounding);
}

double Bounds::state_bytes(Choice const& c, std::vector<std::int64_t> const& layers) {
  return std::max(state_bytes(0, c, layers), state_bytes(c.pipe - 1, c, layers));
}

double Bounds::bytes(Choice const& c, std::vector<std::int64_t> const& layers) {
  Parts const& parts = this->parts(c);
  std::int64_t const last = c.pipe * c.interleave - 1, micros = config_.train.global_batch / (c.micro_batch * c.data);
  std::int64_t const together = c.recompute == Recompute::full ? c.recompute_layers : 1;
  LayoutConfig layout{.pipe = c.pipe, .schedule = c.schedule, .interleave = c.interleave};
  layout.interleave_group = config_.layout.interleave_group;
  double most = 0;
  for (std::int64_t s : {std::int64_t{0}, c.pipe - 1}) {
    auto const& held = slots_->of(layout, micros, s);
    std::int64_t bytes = 0, largest = 1;
    for (std::int64_t part = s; part <= last; part += c.pipe) {
      std::int64_t const n = layers[static_cast<std::size_t>(part)], groups = (n + together - 1) / together;
      std::int64_t slot = parts.block.slot + (groups - 1) * parts.slot_between;
      largest = std::max(largest, n);
      if (part == 0) slot += parts.embedding.slot;
      if (part == last) slot += parts.head.slot;
      bytes += slot * held[static_cast<std::size_t>(part / c.pipe)];
    }
    bytes += parts.scratch + (std::min(together, largest) - 1) * parts.scratch_more;
    most = std::max(most, state_bytes(s, c, layers) + static_cast<double>(bytes));
  }
  return most * (1 - rounding);
}

}  // namespace selenite
