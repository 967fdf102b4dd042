#include "apps/sweep/search.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <thread>

#include "apps/sweep/predict.hpp"
#include "core/error.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "plan/machine_files.hpp"
#include "plan/search.hpp"
#include "study/plot_script.hpp"

namespace selenite::app {
namespace {

struct SearchOptions {
  std::string model, machine, folder;
  std::vector<std::string> settings;
  std::int64_t gpus = 0, batch = 0, threads = std::max(1u, std::thread::hardware_concurrency());
};

double gib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }
std::string digits(double value, int count) {
  std::string text(32, '\0');
  text.resize(static_cast<std::size_t>(std::snprintf(text.data(), text.size(), "%.*f", count, value)));
  return text;
}

std::string schedule_of(Choice const& c) {
  if (c.pipe == 1) return "-";
  switch (c.schedule) {
    case ScheduleKind::one_f_one_b:
      return "1f1b";
    case ScheduleKind::interleaved:
      return concat("interleaved ", c.interleave);
    case ScheduleKind::zero_bubble:
      return "zero_bubble";
    case ScheduleKind::zero_bubble_h2:
      break;
  }
  return "zero_bubble_h2";
}
std::string recompute_of(Choice const& c) {
  if (c.recompute != Recompute::full) return c.recompute == Recompute::none ? "none" : "selective";
  return c.recompute_layers == 1 ? "full" : concat("full ", c.recompute_layers);
}

std::vector<std::string> const columns{"tensor",    "context",  "pipe",     "data",    "micro-batch", "schedule",
                                       "recompute", "sharding", "sequence", "seconds", "MFU %",       "GiB"};
std::vector<std::string> cells(Found const& f) {
  Choice const& c = f.choice;
  return {concat(c.tensor),
          concat(c.context),
          concat(c.pipe),
          concat(c.data),
          concat(c.micro_batch),
          schedule_of(c),
          recompute_of(c),
          concat(c.optimizer_sharding),
          c.sequence_parallel ? "yes" : "no",
          digits(f.seconds, 4),
          digits(100 * f.mfu, 2),
          digits(gib(f.bytes), 2)};
}

std::string table(std::vector<Found> const& list) {
  std::vector<std::vector<std::string>> rows{{""}};
  rows[0].insert(rows[0].end(), columns.begin(), columns.end());
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto row = cells(list[i]);
    row.insert(row.begin(), concat(i + 1));
    rows.push_back(std::move(row));
  }
  return aligned(rows);
}

std::string counts(SearchResult const& r) {
  std::vector<std::pair<std::string, std::int64_t>> reasons(r.infeasible.begin(), r.infeasible.end());
  std::ranges::stable_sort(reasons, std::greater<>(), [](auto const& reason) { return reason.second; });
  std::vector<std::vector<std::string>> rows{{concat("candidates"), concat(r.candidates)},
                                             {"predicted", concat(r.predicted)},
                                             {"left out: a bound shows them slower and larger", concat(r.pruned)}};
  for (auto const& [reason, count] : reasons) rows.push_back({concat("infeasible: ", reason), concat(count)});
  return aligned(rows);
}

std::string csv(std::vector<Found> const& list) {
  std::string text =
      "tensor,context,pipe,data,micro_batch,schedule,recompute,optimizer_sharding,sequence_parallel,"
      "iteration_seconds,mfu_percent,memory_gib\n";
  for (Found const& f : list) text += join(cells(f), ",") + "\n";
  return text;
}

std::string plot(SearchResult const& r) {
  auto line = [](std::string name, std::vector<Found> const& list) {
    Line l{.name = std::move(name), .x = {}, .y = {}, .least = {}, .most = {}};
    for (Found const& f : list) l.x.push_back(gib(f.bytes)), l.y.push_back(f.seconds);
    return l;
  };
  LineChart chart{.x_axis = "memory of the fullest rank, GiB", .y_axis = "seconds a step", .from_zero = false};
  chart.lines.push_back(line("nothing is faster and smaller", r.front));
  chart.lines.push_back(line("the ten fastest", r.best));
  chart.lines.back().is_joined = false;
  return script_of(chart);
}

/// The fields that the user has set are not searched.
std::vector<std::string> pinned(std::vector<std::string> const& settings) {
  std::vector<std::string> fields;
  for (std::string const& s : settings) fields.emplace_back(trim(s.substr(0, s.find('='))));
  return fields;
}

void write_results(SearchResult const& r, Config const& config, SearchOptions const& o) {
  std::filesystem::create_directories(o.folder);
  write_file_atomically(o.folder + "/best.csv", csv(r.best));
  write_file_atomically(o.folder + "/front.csv", csv(r.front));
  write_file_atomically(o.folder + "/run.toml", to_toml(resolve(r.best.front().choice.apply(config), o.gpus)));
  std::cout << "Written to " << o.folder << ": run.toml (the fastest), best.csv, front.csv";
  try {
    draw(plot(r), "front", o.folder);
    std::cout << ", front.svg\n";
  } catch (Error const& e) {
    std::cout << "\n";
    std::cerr << e.what() << "\n";
  }
}

int search_command(SearchOptions o) {
  validate(o.gpus > 0, "A search can't lay out ", o.gpus, " ranks (it takes 1 or more). Give --gpus.");
  Config config = config_or_preset(o.model, o.settings);
  if (o.batch > 0) config.train.global_batch = o.batch;
  std::string const name = o.machine.empty() ? config.machine.name : o.machine;
  validate(name != "auto", "A search needs a machine (neither --machine nor machine.name says which). Give --machine ",
           machine_names().empty() ? "FILE.toml" : join(machine_names(), ", "), ".");
  Machine const machine = named_machine(name);
  config.machine.name = name;
  if (o.folder.empty()) o.folder = concat("search-", std::filesystem::path(o.model).stem().string(), "-", o.gpus);
  SearchResult const r =
      search({config, o.gpus, pinned(o.settings), static_cast<unsigned>(std::clamp<std::int64_t>(o.threads, 1, 256))},
             machine);
  std::cout << counts(r);
  if (r.best.empty()) {
    std::cout << "Nothing fits.\n";
    return 3;
  }
  std::cout << "\nThe fastest on " << machine.name << ", " << o.gpus << " ranks, batch " << config.train.global_batch
            << ":\n"
            << table(r.best) << "\n";
  write_results(r, config, o);
  return 0;
}

}  // namespace

void add_search(CommandLine& line) {
  auto const o = std::make_shared<SearchOptions>();
  auto sub = line.subcommand("search", "Find the fastest layout of a model on so many GPUs, and the Pareto front",
                             [o] { return search_command(*o); });
  sub.option("model", o->model, "The name of a preset, or a config of selenite-pretrain (TOML)", true);
  sub.option("--machine", o->machine, "A file of scaling/machines by its name, or a path; default: machine.name");
  sub.option("--gpus,--world", o->gpus, "Ranks", true);
  sub.option("--batch", o->batch, "Samples of a step; 0: train.global_batch");
  sub.repeated("--set", o->settings, "Set a field; a field of the layout that is set is not searched");
  sub.option("--folder", o->folder, "Where results are written; default: search-<model>-<gpus>");
  sub.option("--threads", o->threads, "Threads that search");
}

}  // namespace selenite::app
