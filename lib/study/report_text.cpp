#include <cmath>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/report.hpp"

namespace selenite {
namespace {

std::string csv_cell(std::string const& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

struct Named {
  std::string name, unit;
  double value;
};

std::vector<Named> quantities(RepeatResult const& r) {
  Figures const& f = r.figures;
  RunResult const& run = *r.run;
  std::vector<Named> all{{"step_seconds", "s", f.step_seconds},
                         {"step_seconds_min", "s", f.step_seconds_min},
                         {"step_seconds_max", "s", f.step_seconds_max},
                         {"steps_counted", "1", static_cast<double>(f.steps)},
                         {"tokens_per_second", "1/s", f.tokens_per_second},
                         {"model_tflops_per_rank", "TFLOP/s", f.model_tflops_per_rank},
                         {"hardware_tflops_per_rank", "TFLOP/s", f.hardware_tflops_per_rank},
                         {"mfu", "1", f.mfu},
                         {"hfu", "1", f.hfu},
                         {"peak_tflops", "TFLOP/s", run.peak_tflops},
                         {"predicted_step_seconds", "s", run.predicted_step_seconds},
                         {"parameters", "1", run.parameters},
                         {"loss_first", "nats", run.loss_first},
                         {"loss_last", "nats", run.loss_last},
                         {"valid_loss", "nats", run.valid_loss},
                         {"resident_bytes", "B", run.resident_bytes}};
  for (auto const& [name, x] : run.memory_bytes) all.push_back({"memory_bytes." + name, "B", x});
  for (auto const& [name, x] : f.time_seconds) all.push_back({"time_seconds." + name, "s", x});
  for (auto const& [name, x] : run.predicted_time_seconds) all.push_back({"predicted_time_seconds." + name, "s", x});
  std::erase_if(all, [](Named const& q) { return !std::isfinite(q.value); });
  return all;
}

std::string markdown_table(Table const& t) {
  auto const row = [](std::vector<std::string> const& cells) {
    std::string text = "|";
    for (std::string cell : cells) {
      for (char& c : cell)
        if (c == '|' || c == '\n') c = c == '|' ? '/' : ' ';
      text += concat(" ", cell, " |");
    }
    return text + "\n";
  };
  if (t.rows.empty()) return "";
  std::string text = concat("\n## ", t.title, "\n\n", t.note, t.note.empty() ? "" : "\n\n", row(t.head), "|");
  for (std::size_t i = 0; i < t.head.size(); ++i) text += "---|";
  text += "\n";
  for (auto const& cells : t.rows) text += row(cells);
  return text;
}

}  // namespace

std::string csv_text(StudyResult const& result) {
  auto const keys = varied_keys(result.study);
  std::string text = "study,id,point,repeat,status,reason,ranks";
  for (std::string const& key : keys) text += "," + csv_cell(key);
  text += ",quantity,value,unit\n";
  for (PointResult const& p : result.points) {
    std::string values;
    for (Setting const& s : p.point.varied) values += "," + csv_cell(s.text);
    auto const head = [&](std::string const& repeat, std::string_view status, std::string const& reason) {
      return concat(result.study.name, ",", p.point.id, ",", csv_cell(p.point.name), ",", repeat, ",", status, ",",
                    csv_cell(reason), ",", p.point.ranks, values);
    };
    if (!p.point.infeasible.empty()) text += head("", "infeasible", p.point.infeasible) + ",,,\n";
    if (p.predicted)
      for (Named const& q : quantities(*p.predicted))
        text += concat(head("", "predicted", p.predicted->run->does_not_fit), ",", csv_cell(q.name), ",",
                       format_double(q.value), ",", q.unit, "\n");
    for (RepeatResult const& r : p.repeats) {
      std::string const start = head(std::to_string(r.record.repeat), name_of(r.record.status), r.record.reason);
      if (r.record.status != Status::done) text += start + ",,,\n";
      if (r.record.status == Status::done)
        for (Named const& q : quantities(r))
          text += concat(start, ",", csv_cell(q.name), ",", format_double(q.value), ",", q.unit, "\n");
    }
  }
  return text;
}

namespace {

std::string latex_escaped(std::string const& text) {
  std::string out;
  for (char c : text) {
    if (std::string_view("&%$#_{}").find(c) != std::string_view::npos)
      out += concat('\\', c);
    else if (c == '\\')
      out += "\\textbackslash{}";
    else if (c == '~' || c == '^')
      out += concat('\\', c, "{}");
    else
      out += c == '\n' ? ' ' : c;
  }
  return out;
}

std::string latex_table(Table const& t, std::string const& label, std::string const& caption) {
  if (t.rows.empty()) return "";
  auto const row = [](std::vector<std::string> const& cells) {
    std::vector<std::string> escaped;
    for (std::string const& cell : cells) escaped.push_back(latex_escaped(cell));
    return concat("  ", join(escaped, " & "), " \\\\\n");
  };
  std::string text = concat("\\begin{table}\n\\centering\\tiny\n\\begin{tabular}{l",
                            std::string(t.head.size() - 1, 'r'), "}\n\\hline\n", row(t.head), "\\hline\n");
  for (auto const& cells : t.rows) text += row(cells);
  return text + concat("\\hline\n\\end{tabular}\n\\caption{", latex_escaped(caption), "}\n\\label{tab:", label,
                       "}\n\\end{table}\n");
}

}  // namespace

std::string latex_text(StudyResult const& result) {
  std::string text = concat("% Study ", result.study.name, "; \\input this file.\n"), rest;
  for (auto const& [name, what] : conditions(result))
    if (name != "Set for all" && name != "Libraries") rest += concat(" ", name, ": ", what, ".");
  Table const main = main_table(result), predictions = prediction_table(result), published = published_table(result);
  return text + latex_table(main, result.study.name, concat(result.study.description, ". ", main.note, rest)) +
         latex_table(published, result.study.name + "-published", concat(published.title, ". ", published.note)) +
         latex_table(predictions, result.study.name + "-predicted", concat(predictions.title, ". ", predictions.note));
}

std::string markdown_text(StudyResult const& result) {
  std::string text = concat("# Study ", result.study.name, "\n\n", result.study.description,
                            result.study.description.empty() ? "" : "\n\n");
  for (auto const& [name, what] : conditions(result)) text += concat("- ", name, ": ", what, "\n");
  for (Table const& t : {main_table(result), published_table(result), prediction_table(result), spread_table(result),
                         failure_table(result)})
    text += markdown_table(t);
  return text;
}

}  // namespace selenite
