#include <cmath>

#include "core/text.hpp"
#include "plan/predict.hpp"

namespace selenite {
namespace {

std::string fixed(double value, int digits) {
  double const scale = std::pow(10, digits);
  std::string text = concat(static_cast<std::int64_t>(std::llround(std::abs(value) * scale)));
  while (static_cast<int>(text.size()) <= digits) text.insert(0, "0");
  if (digits > 0) text.insert(text.size() - static_cast<std::size_t>(digits), ".");
  return value < 0 ? "-" + text : text;
}
std::string percent(double fraction) { return fixed(100 * fraction, 1) + " %"; }
std::string bytes(std::int64_t n) { return format_bytes(static_cast<double>(n)); }

std::string layout_line(Config const& c, ProcessGrid const& grid) {
  std::string axes;
  for (Axis axis : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
    if (grid.size(axis) > 1) axes += concat(axes.empty() ? " = " : " x ", name(axis), " ", grid.size(axis));
  return concat(grid.world(), grid.world() == 1 ? " rank" : " ranks", axes, "; micro-batch ", c.train.micro_batch,
                " of ", c.train.global_batch,
                c.layout.interleave > 1 ? concat("; ", c.layout.interleave, " chunks") : "", "\n");
}

/// Parts of a whole, those of nothing left out.
template <class Parts, class Text>
std::vector<std::vector<std::string>> shares(Parts const& parts, double whole, Text const& text) {
  std::vector<std::vector<std::string>> table;
  for (auto const& [label, value] : parts)
    if (auto const share = static_cast<double>(value) / whole; share != 0)
      table.push_back({"  " + label, text(value), percent(share)});
  return table;
}

}  // namespace

std::string describe(Prediction const& p, Config const& c, Machine const& machine) {
  bool const long_step = p.iteration_seconds >= 1;
  auto const duration = [&](double s) { return long_step ? fixed(s, 3) + " s" : fixed(1e3 * s, 3) + " ms"; };
  std::string text = concat(machine.name, ": ", format_count(static_cast<double>(p.plan.parameters)), " parameters on ",
                            layout_line(c, make_grid(c.layout)));
  std::vector<std::vector<std::string>> table{
      {"iteration", duration(p.iteration_seconds), ""},
      {"tokens/s", format_count(p.tokens_per_second), ""},
      {"model TFLOP/s a GPU", fixed(p.model_tflops_per_gpu, 1), percent(p.mfu) + " MFU"},
      {"hardware TFLOP/s a GPU", fixed(p.hardware_tflops_per_gpu, 1), percent(p.hfu) + " HFU"}};
  auto add = [&](std::vector<std::vector<std::string>> const& rows) {
    table.insert(table.end(), rows.begin(), rows.end());
  };
  table.push_back({concat("time of stage ", p.stage), duration(p.iteration_seconds), ""});
  add(shares(p.exposed, p.iteration_seconds, duration));
  table.push_back({concat("memory of stage ", p.plan.fullest()), bytes(p.memory.total()),
                   p.memory_limit == 0 ? "" : concat("of ", bytes(p.memory_limit))});
  add(shares(p.memory.rows(), static_cast<double>(p.memory.total()), bytes));
  text += aligned(table);
  if (!p.fits) text += concat("It does not fit: a rank of ", machine.name, " has ", bytes(p.memory_limit), ".\n");
  return text + concat("Peak ", format_count(p.peak), "FLOP/s. Counted as ", flops_convention, ".\n");
}

}  // namespace selenite
