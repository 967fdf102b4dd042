#include "core/machine.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/error.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

namespace selenite {

double RateCurve::at(double size) const {
  EXPECTS(!empty());
  if (size <= sizes.front()) return rates.front();
  if (size >= sizes.back()) return rates.back();
  auto const next = std::upper_bound(sizes.begin(), sizes.end(), size);
  auto const i = static_cast<std::size_t>(next - sizes.begin());
  double const t = std::log(size / sizes[i - 1]) / std::log(sizes[i] / sizes[i - 1]);
  return std::exp((1 - t) * std::log(rates[i - 1]) + t * std::log(rates[i]));
}

namespace {

// One list of figures each, for reading and writing.
template <class M, class Visit>
void figures_of(M& m, Visit&& visit) {
  visit("peak_fp32", m.peak_fp32), visit("peak_bf16", m.peak_bf16), visit("peak_fp16", m.peak_fp16);
  visit("peak_fp8", m.peak_fp8), visit("draw_rate", m.draw_rate);
  visit("launch_seconds", m.launch_seconds), visit("link_bandwidth", m.link_bandwidth),
      visit("link_latency", m.link_latency);
}
template <class C, class Visit>
void figures_of_cluster(C& c, Visit&& visit) {
  visit("network_bandwidth", c.network_bandwidth), visit("network_latency", c.network_latency);
  visit("collective_seconds", c.collective_seconds), visit("overlap_cost", c.overlap_cost);
  visit("device_spread", c.device_spread);
}
template <class P, class Visit>
void figures_of_program(P& p, Visit&& visit) {
  visit("logit_forward_bytes", p.logit_forward_bytes), visit("logit_backward_bytes", p.logit_backward_bytes);
  visit("gradient_bytes", p.gradient_bytes);
}
template <class P, class Visit>
void figures_of_processor(P& p, Visit&& visit) {
  visit("multiprocessors", p.multiprocessors), visit("gemm_efficiency", p.gemm_efficiency);
  visit("gemm_ramp", p.gemm_ramp), visit("wave_tail", p.wave_tail), visit("result_exposure", p.result_exposure);
  visit("memory_bandwidth", p.memory_bandwidth), visit("memory_efficiency", p.memory_efficiency),
      visit("stream_efficiency", p.stream_efficiency);
}
template <class P, class Visit>
void laws(P& p, Visit&& visit) {
  visit("attention_forward", p.attention_forward), visit("attention_backward", p.attention_backward);
}
template <class M, class Visit>
void curves(M& m, Visit&& visit) {
  visit("gemm_fp32", m.gemm_fp32), visit("gemm_bf16", m.gemm_bf16), visit("attention_fp32", m.attention_fp32);
  visit("attention_bf16", m.attention_bf16), visit("stream", m.stream);
}
/// One rank has none.
template <class M, class Visit>
void link_curves(M& m, Visit&& visit) {
  visit("all_reduce", m.all_reduce), visit("all_gather", m.all_gather), visit("ring_shift", m.ring_shift);
}

double number(TomlNode const& node, std::string const& where) {
  double value = 0;
  if (auto const* x = node.get_if<double>())
    value = *x;
  else if (auto const* i = node.get_if<std::int64_t>())
    value = static_cast<double>(*i);
  else
    throw Error(concat(where, " takes a number (line ", node.line, "). Correct the machine file."));
  validate(std::isfinite(value) && value >= 0, where, " = ", value, " is not a possible figure (line ", node.line,
           "; it must be 0 or more). Correct the machine file.");
  return value;
}

/// A table of the file, whose keys must all be known.
class Table {
 public:
  Table(std::string where, TomlNode const* node) : where_(std::move(where)), node_(node) {
    validate(node_ && node_->table(), where_, " is missing (it is a table of figures). Add it to the machine file.");
  }
  void read(char const* key, double& value) {
    TomlNode const* node = find(key);
    validate(node, name(key), " is missing (every figure must be said). Add it to the machine file.");
    value = number(*node, name(key));
  }
  void read(char const* key, std::int64_t& value) {
    double whole = 0;
    read(key, whole);
    validate(whole == std::floor(whole) && whole < 1e18, name(key), " = ", whole,
             " is no whole number (it counts things). Correct the machine file.");
    value = static_cast<std::int64_t>(whole);
  }
  void read(char const* key, std::string& value) {
    TomlNode const* node = find(key);
    if (!node) return;
    validate(node->get_if<std::string>(), name(key), " takes a string in quotes. Correct the machine file.");
    value = *node->get_if<std::string>();
  }
  void read(char const* key, std::vector<double>& list) {
    TomlNode const* node = find(key);
    validate(node && node->array() && !node->array()->empty(), name(key),
             " is missing or no list of numbers (a rate curve needs sizes and rates). Add it to the machine file.");
    for (TomlNode const& item : *node->array()) {
      list.push_back(number(item, name(key)));
      validate(list.back() > 0, name(key), " holds 0 (sizes and rates are above 0). Correct the machine file.");
    }
  }
  void read(RateCurve& curve) {
    read("sizes", curve.sizes), read("rates", curve.rates);
    validate(curve.sizes.size() == curve.rates.size() && std::ranges::is_sorted(curve.sizes), where_,
             " needs as many rates as sizes, sizes rising. Correct the machine file.");
  }
  bool has(char const* key) { return find(key) != nullptr; }
  Table table(char const* key) { return {concat(where_, where_.ends_with(']') ? "" : ":", " [", key, "]"), find(key)}; }
  void expect_no_more() const {
    for (TomlEntry const& entry : *node_->table())
      if (std::ranges::find(known_, entry.key) == known_.end()) {
        std::string_view const near = nearest_name(entry.key, known_);
        throw Error(concat(name(entry.key), " is not a figure of a machine (line ", entry.node.line, "). ",
                           near.empty() ? "Take it out of the machine file." : concat("Did you mean ", near, "?")));
      }
  }

 private:
  std::string name(std::string_view key) const { return concat(where_, where_.ends_with(']') ? " " : ": ", key); }
  TomlNode const* find(char const* key) {
    known_.emplace_back(key);
    return node_->find(key);
  }

  std::string where_;
  TomlNode const* node_;
  std::vector<std::string_view> known_;
};

Processor read_processor(Table table) {
  Processor p;
  auto const read = [&](char const* key, double& value) { table.read(key, value); };
  figures_of_processor(p, read);
  for (auto const& [key, value] : {std::pair{"multiprocessors", p.multiprocessors},
                                   {"gemm_efficiency", p.gemm_efficiency},
                                   {"memory_bandwidth", p.memory_bandwidth},
                                   {"memory_efficiency", p.memory_efficiency},
                                   {"stream_efficiency", p.stream_efficiency}})
    validate(value > 0, "[processor] ", key,
             " = 0 is not a possible figure (nothing would ever end). Correct the "
             "machine file.");
  table.expect_no_more();
  return p;
}

AttentionLaw read_law(Table table) {
  AttentionLaw law;
  table.read("seconds", law.seconds), table.read("ramp", law.ramp), table.read(law.rates);
  table.expect_no_more();
  return law;
}

RateCurve read_curve(Table table) {
  RateCurve curve;
  table.read(curve);
  table.expect_no_more();
  return curve;
}

Cluster read_cluster(Table table) {
  Cluster cluster;
  table.read("ranks_per_node", cluster.ranks_per_node);
  figures_of_cluster(cluster, [&](char const* key, double& value) { table.read(key, value); });
  validate(cluster.overlap_cost < 1, "[cluster] overlap_cost = ", cluster.overlap_cost,
           " is not a possible figure (it is a part of the compute rate, below 1). Correct the machine file.");
  table.expect_no_more();
  return cluster;
}

OtherProgram read_program(Table table) {
  OtherProgram program;
  figures_of_program(program, [&](char const* key, double& value) { table.read(key, value); });
  table.expect_no_more();
  return program;
}

/// What `over` says in place of what `base` says, table by table.
void overlay(TomlNode::Table& base, TomlNode::Table const& over) {
  for (TomlEntry const& entry : over) {
    auto const found = std::ranges::find(base, entry.key, &TomlEntry::key);
    if (found == base.end())
      base.push_back(entry);
    else if (auto* const inner = std::get_if<TomlNode::Table>(&found->node.value); inner && entry.node.table())
      overlay(*inner, *entry.node.table());
    else
      found->node = entry.node;
  }
}

/// The file, on top of the one beside it that it is like.
TomlNode read_machine(std::string const& path) {
  TomlNode root = read_toml(path, "machine file");
  TomlNode const* const like = root.find("like");
  if (!like) return root;
  auto const* const name = like->get_if<std::string>();
  validate(name, path, ": like takes a string in quotes (line ", like->line, "). Correct the machine file.");
  std::string const other = (std::filesystem::path(path).parent_path() / (*name + ".toml")).string();
  validate(std::filesystem::exists(other), path, " is like ", *name, " (line ", like->line, "), but there is no ",
           other, " (machines that are alike lie in one folder). Correct the name.");
  TomlNode base = read_toml(other, "machine file");
  validate(!base.find("like"), path, " is like ", *name,
           ", which is like another (one step is allowed). Name that one.");
  auto& own = std::get<TomlNode::Table>(root.value);
  std::erase_if(own, [](TomlEntry const& e) { return e.key == "like"; });
  overlay(std::get<TomlNode::Table>(base.value), own);
  return base;
}

}  // namespace

Machine load_machine(std::string const& path) {
  TomlNode const root = read_machine(path);
  Table table(path, &root);
  Machine m;
  table.read("name", m.name), table.read("source", m.source);
  if (table.has("memory_bytes")) table.read("memory_bytes", m.memory_bytes);
  figures_of(m, [&](char const* key, double& value) { table.read(key, value); });
  for (auto const& [key, value] : {std::pair{"peak_fp32", m.peak_fp32}, {"peak_bf16", m.peak_bf16}})
    validate(value > 0, path, ": ", key,
             " = 0 is not a possible figure (nothing would ever end). Correct the machine file.");
  if (table.has("cluster")) m.cluster = read_cluster(table.table("cluster"));
  if (table.has("program")) m.program = read_program(table.table("program"));
  if (table.has("processor")) {
    m.processor = read_processor(table.table("processor"));
    laws(*m.processor, [&](char const* key, AttentionLaw& law) { law = read_law(table.table(key)); });
  } else {
    curves(m, [&](char const* key, RateCurve& curve) { curve = read_curve(table.table(key)); });
    link_curves(m, [&](char const* key, RateCurve& curve) {
      if (table.has(key)) curve = read_curve(table.table(key));
    });
    validate(m.all_reduce.empty() == m.all_gather.empty() && m.all_gather.empty() == m.ring_shift.empty(), path,
             " has some of [all_reduce], [all_gather] and [ring_shift] (all were measured together, or none). Add the "
             "others, or measure again by selenite-sweep calibrate.");
  }
  table.expect_no_more();
  return m;
}

std::string to_toml(Machine const& m) {
  std::string text =
      concat("name = \"", m.name, "\"\nsource = \"", m.source, "\"\nmemory_bytes = ", m.memory_bytes, "\n");
  auto const figure = [&](char const* key, double value) { text += concat(key, " = ", format_double(value), "\n"); };
  auto const points = [&](RateCurve const& curve) {
    auto list = [](std::vector<double> const& values) {
      std::vector<std::string> parts;
      for (double v : values) parts.push_back(format_double(v));
      return "[" + join(parts, ", ") + "]";
    };
    text += concat("sizes = ", list(curve.sizes), "\nrates = ", list(curve.rates), "\n");
  };
  figures_of(m, figure);
  if (m.cluster.ranks_per_node > 0) {
    text += concat("\n[cluster]\nranks_per_node = ", m.cluster.ranks_per_node, "\n");
    figures_of_cluster(m.cluster, figure);
  }
  if (m.program != OtherProgram()) {
    text += "\n[program]\n";
    figures_of_program(m.program, figure);
  }
  if (!m.processor) {
    auto const print = [&](char const* key, RateCurve const& curve) {
      if (!curve.empty()) text += concat("\n[", key, "]\n"), points(curve);
    };
    curves(m, print), link_curves(m, print);
    return text;
  }
  text += "\n[processor]\n";
  figures_of_processor(*m.processor, figure);
  laws(*m.processor, [&](char const* key, AttentionLaw const& law) {
    text += concat("\n[", key, "]\n");
    figure("seconds", law.seconds), figure("ramp", law.ramp), points(law.rates);
  });
  return text;
}

}  // namespace selenite
