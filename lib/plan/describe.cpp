#include <algorithm>

#include "core/text.hpp"
#include "exec/price.hpp"
#include "plan/plan.hpp"

namespace selenite {

char const* const flops_convention =
    "model FLOPs: GEMMs of the forward pass three times, attention counted whole (unmasked), head included; "
    "MFU = model FLOPs, HFU = model FLOPs and recomputation, each over time x ranks x peak";

namespace {

std::string row(std::string const& label, std::string const& value) {
  std::string line = "  " + label;
  line.resize(std::max<std::size_t>(26, line.size() + 1), ' ');
  return line + value + "\n";
}

std::string describe_layout(Plan const& plan, Config const& c) {
  ProcessGrid const grid = make_grid(c.layout);
  std::string axes;
  for (Axis axis : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
    if (grid.size(axis) > 1) axes += concat(axes.empty() ? "" : " x ", name(axis), " ", grid.size(axis));
  return concat("Layout: ", grid.world(), grid.world() == 1 ? " rank" : " ranks", axes.empty() ? "" : " = ", axes,
                "; micro-batch ", c.train.micro_batch, ", global batch ", c.train.global_batch, ", ", plan.micros,
                " micro-batches a rank and step\n");
}

/// Groups of ranks over which any stage sends more than a few figures.
std::vector<AxisSet> groups_sent(std::vector<StagePlan> const& stages) {
  constexpr std::int64_t figures = 4096;  // bytes: losses and norms
  std::vector<AxisSet> groups;
  for (AxisSet group : AxisSet::subsets())
    if (std::ranges::any_of(stages, [&](StagePlan const& s) { return s.step.sent[group] > figures; }))
      groups.push_back(group);
  return groups;
}

bool alike(StagePlan const& a, StagePlan const& b) {
  return a.footprint == b.footprint && a.layers == b.layers && a.step.sent == b.step.sent &&
         a.step.flops == b.step.flops;
}

/// "512 F 512 B": what the stage does in a step, passes over its chunks added.
std::string actions_of(std::vector<Action> const& row) {
  std::string text;
  for (What const what : {What::forward, What::backward, What::backward_input, What::backward_weight}) {
    auto const n = std::ranges::count(row, what, &Action::what);
    if (n > 0) text += concat(text.empty() ? "" : " ", n, " ", static_cast<char>(what));
  }
  return text;
}

/// Every stage that differs from the one before is a line; columns in which all are empty are left out.
std::string describe_stages(Plan const& plan, bool timed) {
  if (plan.stages.size() == 1) return "";
  Schedule const& schedule = plan.schedule;
  auto bytes = [](std::int64_t n) { return n == 0 ? "" : format_bytes(static_cast<double>(n)); };
  std::vector<std::vector<std::string>> table{{"stage", "layers", "actions"}};
  for (auto const& [label, size] : plan.footprint.rows()) table[0].push_back(label);
  table[0].insert(table[0].end(), {"all memory", "FLOPs"});
  auto const groups = groups_sent(plan.stages);
  for (AxisSet group : groups) table[0].push_back("sent over " + to_string(group));
  table[0].push_back("to stages");
  if (timed) table[0].emplace_back("bubble");
  for (std::size_t first = 0, last = 0; first < plan.stages.size(); first = last) {
    StagePlan const& stage = plan.stages[first];
    while (last < plan.stages.size() && alike(plan.stages[last], stage)) ++last;
    std::vector<std::string> layers;
    for (std::int64_t n : stage.layers) layers.push_back(concat(n));
    auto& line = table.emplace_back();
    line = {last - first == 1 ? concat(first) : concat(first, " to ", last - 1), join(layers, "+"),
            actions_of(schedule.rows[first])};
    for (auto const& [label, size] : stage.footprint.rows()) line.push_back(bytes(size));
    line.push_back(bytes(stage.footprint.total())), line.push_back(format_count(stage.step.flops));
    for (AxisSet group : groups) line.push_back(bytes(stage.step.sent[group]));
    line.push_back(
        bytes(stage.step.sent[Channel::forward] + stage.step.sent[Channel::backward] + stage.step.sent[Channel::tied]));
    if (timed) line.push_back(format_duration(plan.step_seconds - stage.busy));
  }
  return "Stages of the pipeline, a rank and step:\n" + aligned(table);
}

/// Of the fullest rank: it decides whether the run has room.
std::string describe_memory(Plan const& plan) {
  std::size_t const stage = plan.fullest();
  Footprint const& held = plan.stages[stage].footprint;
  auto const line = [](std::string const& label, std::int64_t bytes) {
    return row(label, concat(format_bytes(static_cast<double>(bytes)), "  (", bytes, " bytes)"));
  };
  std::string text = plan.stages.size() == 1 ? "Memory of a rank:\n"
                                             : concat("Memory of a rank of stage ", stage, ", which holds most:\n");
  for (auto const& [label, bytes] : held.rows()) text += line(label, bytes);
  return text + line("total", held.total());
}

std::string describe_sent(SentBytes const& sent) {
  std::string text;
  for (AxisSet axes : AxisSet::subsets())
    if (sent[axes] > 0) text += row("sent over " + to_string(axes), format_bytes(static_cast<double>(sent[axes])));
  std::int64_t const messages = sent[Channel::forward] + sent[Channel::backward] + sent[Channel::tied];
  if (messages > 0) text += row("sent to other stages", format_bytes(static_cast<double>(messages)));
  return text;
}

}  // namespace

std::string describe(Plan const& plan, Config const& c, Machine const* machine) {
  std::string text =
      concat("Model: ", format_count(static_cast<double>(plan.parameters)), " parameters; ", c.model.layers,
             " layers, hidden ", c.model.hidden, ", ", c.model.heads, " heads, vocabulary ", c.model.vocab_size,
             " (padded to ", c.model.padded_vocab(), "), sequence ", c.model.sequence_length, "\n");
  text += describe_layout(plan, c);
  text += describe_memory(plan);
  auto const tokens = static_cast<double>(c.train.global_batch * c.model.sequence_length);
  text += describe_stages(plan, machine != nullptr);
  text += "A step:\n" + row("tokens", format_count(tokens)) + row("model FLOPs", format_count(plan.model_flops)) +
          row("hardware FLOPs", format_count(plan.hardware_flops)) +
          row("executed FLOPs a rank", format_count(plan.step.flops)) + describe_sent(plan.step.sent);
  if (!machine) return text + concat("Counted as ", flops_convention, ".\n");
  text += row("expected time", format_duration(plan.step_seconds));
  if (plan.stages.size() > 1)
    text += row("  in the bubble", format_duration(plan.step_seconds - plan.stages.front().busy));
  bool const links = knows_links(*machine, make_grid(c.layout).world());
  for (std::size_t i = 0; i < cause_count; ++i) {
    Cause const cause = static_cast<Cause>(i);
    bool const known = links || cause != Cause::communication;
    text += row(concat("  ", name(cause)),
                known ? format_duration(plan.step.seconds[i]) : "not known (the machine has no figures for links)");
  }
  double const peak = machine->peak(c.train.precision == Precision::fp32 ? DType::fp32 : DType::bf16),
               ranks = static_cast<double>(make_grid(c.layout).world());
  text += row("tokens/s", format_count(tokens / plan.step_seconds)) +
          row("MFU", concat(format_double(static_cast<double>(static_cast<int>(1000 * plan.model_flops /
                                                                               plan.step_seconds / ranks / peak)) /
                                          10),
                            " % of ", format_count(peak), "FLOP/s (", machine->name, ")"));
  return text + concat("Counted as ", flops_convention, ".\n");
}

}  // namespace selenite
