#include "plan/bounds.hpp"

#include <algorithm>
#include <numeric>

#include "schedule/schedule.hpp"
#include "train/passes.hpp"

namespace selenite {
namespace {

bool splits(ScheduleKind kind) { return kind == ScheduleKind::zero_bubble || kind == ScheduleKind::zero_bubble_h2; }

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
    if (splits(config.layout.schedule)) {
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
std::int64_t whole_nodes(std::int64_t, Machine const&) { return 1; }

}  // namespace

Bounds::Parts Bounds::measure(Choice const& choice) const {
  Config c = choice.apply(config_);
  c.model.layers = 5, c.layout.pipe = 4, c.layout.stages = "1,1,2,1", c.layout.interleave = 1;
  c.layout.schedule = splits(choice.schedule) ? ScheduleKind::zero_bubble : ScheduleKind::one_f_one_b;
  c.layout.overlap.clear(), c.layout.data = whole_nodes(choice.tensor * choice.context, machine_);
  c.train.optimizer_sharding = 0, c.train.recompute_layers = 1;
  c.train.global_batch = choice.micro_batch * c.layout.data, c.train.batch_ramp.clear();
  c = resolve(c, c.layout.tensor * c.layout.context * c.layout.data * c.layout.pipe);
  Walked const first(c, 0, machine_), one(c, 1, machine_), two(c, 2, machine_), last(c, 3, machine_);
  Parts parts;
  parts.block = {std::min(one.forward, two.forward - one.forward), std::min(one.backward, two.backward - one.backward),
                 std::min(one.weight, two.weight - one.weight), one.slot, one.elements};
  auto extra = [&](Walked const& with) {
    return Part{with.forward - one.forward, with.backward - one.backward, with.weight - one.weight,
                with.slot - one.slot, with.elements - one.elements};
  };
  parts.embedding = extra(first), parts.head = extra(last);
  parts.copied = last.copied, parts.slot_between = two.slot - one.slot;
  parts.scratch = one.scratch;
  if (choice.recompute == Recompute::full) {
    c.train.recompute_layers = 2;
    parts.scratch_more = Walked(c, 2, machine_).scratch - two.scratch;
  }
  return parts;
}

Bounds::Parts const& Bounds::parts(Choice const& c) {
  Key const key(c.micro_batch, c.sequence_parallel, c.recompute, splits(c.schedule));
  auto const known = parts_.find(key);
  return known != parts_.end() ? known->second : parts_.emplace(key, measure(c)).first->second;
}

double Bounds::state_bytes(Choice const& choice) {
  std::int64_t const shards = choice.context * choice.data;
  auto const [at, fresh] = state_bytes_.emplace(std::pair(shards, choice.optimizer_sharding), 0);
  if (!fresh) return at->second;
  Config c = config_;
  c.model = {.layers = 1, .hidden = 8, .heads = 1, .vocab_size = 8, .vocab_multiple = 8, .sequence_length = 8};
  c.layout = {.data = shards};
  c.train.micro_batch = 1, c.train.global_batch = shards, c.train.batch_ramp.clear();
  c.train.recompute = Recompute::none, c.train.optimizer_sharding = choice.optimizer_sharding;
  c = resolve(c, shards);
  StageState const stage(c, make_grid(c.layout), Rank(0));
  Footprint const& f = stage.footprint();
  return at->second = static_cast<double>(f.weights + f.gradients + f.master + f.moments) /
                      static_cast<double>(stage.layout().elements);
}

std::vector<std::int64_t> const& Bounds::slots(Choice const& c, std::int64_t micros, std::int64_t stage) {
  auto const [at, fresh] =
      slots_.emplace(std::tuple(c.pipe, c.interleave, c.schedule, micros, stage), std::vector<std::int64_t>());
  if (fresh) at->second = slots_needed(make_row(c.apply(config_).layout, micros, Stage(stage)), c.interleave);
  return at->second;
}

double Bounds::seconds(Choice const& c, std::vector<std::int64_t> const& layers) {
  Parts const& parts = this->parts(c);
  std::int64_t const last = c.pipe * c.interleave - 1;
  auto const micros = static_cast<double>(config_.train.global_batch / (c.micro_batch * c.data));
  auto blocks = [&](std::int64_t part) { return static_cast<double>(layers[static_cast<std::size_t>(part)]); };
  double most = 0, there = 0, back = 0;  // the way of a micro-batch to the stage, and back from it
  for (std::int64_t s = 0; s < c.pipe; ++s) {
    double pass = s == 0 ? parts.embedding.all() : 0;
    for (std::int64_t part = s; part <= last; part += c.pipe) pass += blocks(part) * parts.block.all();
    if (s + 1 == c.pipe) pass += parts.head.all();
    most = std::max(most, there + micros * pass + (splits(c.schedule) ? 0 : back));
    there += blocks(s) * parts.block.forward + (s == 0 ? parts.embedding.forward : 0);
    back += blocks(s) * parts.block.backward + (s == 0 ? parts.embedding.backward : 0);
  }
  return most * (1 - rounding);
}

double Bounds::bytes(Choice const& c, std::vector<std::int64_t> const& layers) {
  Parts const& parts = this->parts(c);
  std::int64_t const last = c.pipe * c.interleave - 1, micros = config_.train.global_batch / (c.micro_batch * c.data);
  std::int64_t const together = c.recompute == Recompute::full ? c.recompute_layers : 1;
  double most = 0;
  for (std::int64_t s : {std::int64_t{0}, c.pipe - 1}) {
    auto const& held = slots(c, micros, s);
    double elements = 0, bytes = 0;
    std::int64_t largest = 1;
    for (std::int64_t part = s; part <= last; part += c.pipe) {
      std::int64_t const n = layers[static_cast<std::size_t>(part)], groups = (n + together - 1) / together;
      std::int64_t slot = parts.block.slot + (groups - 1) * parts.slot_between;
      elements += static_cast<double>(n * parts.block.elements), largest = std::max(largest, n);
      if (part == 0) slot += parts.embedding.slot, elements += static_cast<double>(parts.embedding.elements);
      if (part == last)
        slot += parts.head.slot, elements += static_cast<double>(parts.head.elements + (c.pipe > 1 ? parts.copied : 0));
      bytes += static_cast<double>(slot) * static_cast<double>(held[static_cast<std::size_t>(part / c.pipe)]);
    }
    bytes += elements * state_bytes(c) + static_cast<double>(parts.scratch) +
             static_cast<double>((std::min(together, largest) - 1) * parts.scratch_more);
    most = std::max(most, bytes);
  }
  return most * (1 - rounding);
}

}  // namespace selenite
