#include "study/validate.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/text.hpp"
#include "core/toml.hpp"
#include "plan/machine_files.hpp"
#include "plan/plan.hpp"

namespace selenite {
namespace fs = std::filesystem;
namespace {

constexpr std::array<std::string_view, 5> quantity_names{"iteration_seconds", "hardware_tflops", "model_tflops",
                                                         "forward_ms", "backward_ms"};
constexpr std::array<std::string_view, 5> unit_names{"s", "TF/GPU", "TF/GPU", "ms", "ms"};

Quantity quantity_of(std::string const& text, std::string const& where) {
  auto const found = std::ranges::find(quantity_names, text);
  validate(found != quantity_names.end(), where, "there is no quantity ", text, " (known are ",
           join(quantity_names, ", "), "). Correct the cell.");
  return static_cast<Quantity>(found - quantity_names.begin());
}

/// A cell as a column's name says.
void read_cell(PublishedRow& row, std::string const& column, std::string const& cell, std::string const& where) {
  if (column == "row") {
    row.name = cell;
  } else if (column == "use") {
    validate(cell == "fit" || cell == "test", where, "use is ", cell, " (it is fit or test). Correct the cell.");
    row.fitted = cell == "fit";
  } else if (column == "quantity") {
    row.quantity = quantity_of(cell, where);
  } else if (column == "published") {
    row.value = parse_double(cell, where + "published");
    validate(row.value > 0, where, "published = ", cell, " can't be measured (it is above 0). Correct the cell.");
  } else if (cell.empty()) {
    bool const batch = column == "train.micro_batch", chunks = column == "layout.interleave";
    validate(batch || chunks, where, column, " is empty (only train.micro_batch and layout.interleave may be left to ",
             "the prediction). Fill the cell.");
    (batch ? row.any_micro_batch : row.any_interleave) = true;
  } else {
    set_field(row.config, concat(column, "=", cell));
  }
}

std::vector<PublishedRow> read_rows(std::string const& file, Config const& base) {
  std::istringstream lines(read_text_file(file, "table of published measurements"));
  std::string line;
  std::getline(lines, line);
  std::vector<std::string> const columns = split(trim(line), ',');
  for (char const* needed : {"row", "use", "quantity", "published"})
    validate(std::ranges::count(columns, needed) == 1, file, " has no column ", needed,
             " (a row needs it). Add it to the first line.");
  std::vector<PublishedRow> rows;
  for (std::int64_t number = 2; std::getline(lines, line); ++number) {
    if (trim(line).empty()) continue;
    std::string const where = concat(file, " line ", number, ": ");
    std::vector<std::string> const cells = split(trim(line), ',');
    validate(cells.size() == columns.size(), where, cells.size(), " cells but ", columns.size(),
             " columns. Correct the line.");
    PublishedRow& row = rows.emplace_back();
    row.config = base;
    for (std::size_t i = 0; i < cells.size(); ++i) read_cell(row, columns[i], std::string(trim(cells[i])), where);
  }
  validate(!rows.empty(), file, " has no rows (there is nothing to hold the predictions against). Add some.");
  return rows;
}

std::int64_t world_of(LayoutConfig const& l) { return l.tensor * l.context * l.expert * l.pipe * l.data; }

std::vector<std::int64_t> divisors(std::int64_t n) {
  std::vector<std::int64_t> list;
  for (std::int64_t d = 1; d <= n; ++d)
    if (n % d == 0) list.push_back(d);
  return list;
}

/// The configs that a row may stand for, where the source does not say: every micro-batch that divides a data rank's
/// batch, and every number of chunks that splits the stages' layers evenly.
std::vector<Config> candidates(PublishedRow const& row) {
  Config const& c = row.config;
  std::vector<std::int64_t> micro_batches{c.train.micro_batch}, chunks{c.layout.interleave};
  if (row.any_micro_batch) micro_batches = divisors(c.train.global_batch / c.layout.data);
  if (row.any_interleave) chunks = divisors(c.layout.pipe == 1 ? 1 : c.model.layers / c.layout.pipe);
  std::vector<Config> all;
  for (std::int64_t const b : micro_batches)
    for (std::int64_t const v : chunks) {
      bool const rounds = c.train.global_batch / c.layout.data / b % c.layout.pipe == 0;
      if (v > 1 && row.any_interleave && !rounds) continue;  // Megatron-LM interleaves whole rounds only
      Config& candidate = all.emplace_back(c);
      candidate.train.micro_batch = b, candidate.layout.interleave = v;
      if (v > 1) candidate.layout.schedule = ScheduleKind::interleaved;
    }
  return all;
}

Plan plan_of(Config const& config, Machine const& machine) {
  return make_plan(config, make_grid(config.layout), Rank(0), &machine);
}

bool fits(Plan const& plan, Machine const& machine) {
  return machine.memory_bytes == 0 || std::ranges::all_of(plan.stages, [&](StagePlan const& s) {
           return s.footprint.total() <= machine.memory_bytes;
         });
}

/// What one layer more adds to a pass.
double layer_ms(Config const& config, Machine const& machine, Quantity quantity) {
  Config one_less = config;
  --one_less.model.layers;
  auto const seconds = [&](Config const& c) {
    ActionSeconds const s = plan_of(c, machine).stages[0].seconds.chunks[0];
    return quantity == Quantity::forward_ms ? s.forward : s.backward;
  };
  return 1e3 * (seconds(config) - seconds(one_less));
}

double predict_quantity(Plan const& plan, Config const& config, Machine const& machine, Quantity quantity) {
  double const tera_seconds = 1e12 * plan.step_seconds * static_cast<double>(world_of(config.layout));
  switch (quantity) {
    case Quantity::iteration_seconds:
      return plan.step_seconds;
    case Quantity::hardware_tflops:
      return plan.hardware_flops / tera_seconds;
    case Quantity::model_tflops:
      return plan.model_flops / tera_seconds;
    case Quantity::forward_ms:
    case Quantity::backward_ms:
      break;
  }
  return layer_ms(config, machine, quantity);
}

ValidatedRow validate_row(PublishedRow const& row, Machine const& machine) {
  std::optional<ValidatedRow> best;
  double least = INFINITY;
  std::string refused;
  std::vector<Config> const all = candidates(row);
  for (Config const& candidate : all) {
    try {
      Config const config = resolve(candidate, world_of(candidate.layout));
      Plan const plan = plan_of(config, machine);
      if (all.size() > 1 && !fits(plan, machine)) continue;
      if (plan.step_seconds >= least) continue;
      least = plan.step_seconds;
      best = {row, config, predict_quantity(plan, config, machine, row.quantity)};
    } catch (Error const& e) {
      refused = e.what();
    }
  }
  validate(best.has_value(), "Row ", row.name, " can't be predicted (",
           refused.empty() ? "no micro-batch fits the memory" : refused, "). Correct the table.");
  return *best;
}

std::string rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 100 ? "%.2f" : "%.1f", value);
  return text;
}
std::string signed_error(double fraction) {
  char text[32];
  std::snprintf(text, sizeof text, "%+.1f %%", 100 * fraction);
  return text;
}

}  // namespace

std::string_view name(Quantity quantity) { return quantity_names[static_cast<std::size_t>(quantity)]; }
std::string_view unit(Quantity quantity) { return unit_names[static_cast<std::size_t>(quantity)]; }

std::string published_folder() {
  auto const folder = scaling_folder("published");
  validate(folder.has_value(),
           "There is no folder scaling/published (neither above this program nor here; "
           "it holds the published tables). Give its path by --folder.");
  return folder->string();
}

std::vector<std::string> published_names(std::string const& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (auto const& entry : fs::directory_iterator(folder, error))
    if (entry.path().extension() == ".csv") names.push_back(entry.path().stem().string());
  validate(!names.empty(), "There are no published tables in ", folder, " (files NAME.csv). Give another --folder.");
  std::ranges::sort(names);
  return names;
}

PublishedSet load_published(std::string const& folder, std::string const& name) {
  auto const names = published_names(folder);
  if (std::ranges::count(names, name) == 0) {
    std::vector<std::string_view> const views(names.begin(), names.end());
    std::string_view const near = nearest_name(name, views);
    throw Error(concat("There is no published set ", name, " (", folder, " has ", join(names, ", "), "). ",
                       near.empty() ? "Use one of these." : concat("Did you mean ", near, "?")));
  }
  fs::path const stem = fs::path(folder) / name;
  Config const base = load_config(stem.string() + ".toml", {});
  fs::path const machine = fs::path(folder).parent_path() / "machines" / (base.machine.name + ".toml");
  return {name, load_machine(machine.string()), read_rows(stem.string() + ".csv", base)};
}

std::vector<ValidatedRow> validate_set(PublishedSet const& set) {
  std::vector<ValidatedRow> rows;
  for (PublishedRow const& row : set.rows) rows.push_back(validate_row(row, set.machine));
  return rows;
}

double mean_error(std::vector<ValidatedRow> const& rows) {
  double sum = 0;
  for (ValidatedRow const& row : rows) sum += std::abs(row.error());
  return sum / static_cast<double>(std::max<std::size_t>(1, rows.size()));
}

std::string describe(PublishedSet const& set, std::vector<ValidatedRow> const& rows) {
  std::vector<std::vector<std::string>> table{
      {"row", "GPUs", "tensor", "pipe", "data", "micro-batch", "chunks", "published", "predicted", "", "error", ""}};
  bool chosen = false;
  for (ValidatedRow const& r : rows) {
    LayoutConfig const& l = r.config.layout;
    auto const mark = [&](bool any) { return any ? chosen = true, "*" : ""; };
    table.push_back({r.row.name, concat(world_of(l)), concat(l.tensor), concat(l.pipe), concat(l.data),
                     concat(mark(r.row.any_micro_batch), r.config.train.micro_batch),
                     concat(mark(r.row.any_interleave && l.pipe > 1), l.interleave), rounded(r.row.value),
                     rounded(r.predicted), std::string(unit(r.row.quantity)), signed_error(r.error()),
                     r.row.fitted ? "fitted" : ""});
  }
  auto const worst = std::ranges::max_element(rows, {}, [](auto const& r) { return std::abs(r.error()); });
  return concat(set.name, ", on ", set.machine.name, ":\n", aligned(table), "Mean error ",
                rounded(100 * mean_error(rows)), " %, largest ", signed_error(worst->error()), " (", worst->row.name,
                ")", chosen ? "; *: not stated, the fastest that fits" : "", ".\n");
}

std::string to_json(PublishedSet const& set, std::vector<ValidatedRow> const& rows) {
  nlohmann::ordered_json json{{"set", set.name}, {"machine", set.machine.name}, {"mean_error", mean_error(rows)}};
  for (ValidatedRow const& r : rows)
    json["rows"].push_back({{"row", r.row.name},
                            {"fitted", r.row.fitted},
                            {"quantity", name(r.row.quantity)},
                            {"published", r.row.value},
                            {"predicted", r.predicted},
                            {"error", r.error()},
                            {"micro_batch", r.config.train.micro_batch},
                            {"interleave", r.config.layout.interleave}});
  return json.dump(2) + "\n";
}

}  // namespace selenite
