#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"
#include "io/record.hpp"
#include "study/report.hpp"

namespace selenite {
namespace {

constexpr char const* style = R"CSS(
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 1240px; padding: 0 16px 48px; }
h1 { font-size: 1.6rem; margin: 24px 0 4px; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin: 32px 0 8px; }
p { margin: 4px 0 8px; max-width: 75ch; } .lead { color: #444; } .note { color: #444; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 8px 0; font-size: .95rem; } dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.key { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; } .key div { border: 1px solid #bbb; border-radius: 6px; padding: 8px 14px; flex: 1 1 150px; }
.key b { display: block; font-size: 1.35rem; } .key span { color: #444; font-size: .85rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 24px; align-items: start; }
figure { margin: 0; border: 1px solid #ddd; border-radius: 6px; padding: 8px 8px 12px; min-width: 0; } figure svg { display: block; width: 100%; height: auto; max-width: 540px; margin: 0 auto; }
figure h3 { font-size: 1rem; margin: 4px 8px; } figcaption { font-size: .85rem; color: #444; margin: 4px 8px 0; }
.wide { overflow-x: auto; border: 1px solid #ddd; border-radius: 6px; } table { border-collapse: collapse; font-size: .85rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4e4; } th { background: #f2f2f2; font-weight: 600; }
tr:last-child td { border-bottom: 0; } th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; } th:first-child { background: #f2f2f2; }
td.text { text-align: left; white-space: normal; min-width: 16em; overflow-wrap: anywhere; } th.text { text-align: left; }
.problem { border: 2px solid #990000; border-radius: 6px; padding: 8px 14px; }
footer { margin-top: 40px; color: #555; font-size: .85rem; }
@media (max-width: 520px) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 6px; } body { padding: 0 10px 32px; } th:first-child, td:first-child { white-space: normal; min-width: 6em; } td.text { min-width: 13em; } }
@media print { .wide { overflow: visible; } figure { break-inside: avoid; } }
)CSS";

std::string escaped(std::string const& text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t')
      out += c;  // a run may print anything
  }
  return out;
}

std::string table_html(Table const& t) {
  if (t.rows.empty()) return "";
  std::string html = concat("<h2>", escaped(t.title), "</h2>\n",
                            t.note.empty() ? "" : concat("<p class=\"note\">", escaped(t.note), "</p>\n"),
                            "<div class=\"wide\"><table><thead><tr>");
  auto const kind = [&](std::size_t column) { return t.head[column] == "reason" ? " class=\"text\"" : ""; };
  for (std::size_t i = 0; i < t.head.size(); ++i) html += concat("<th", kind(i), ">", escaped(t.head[i]), "</th>");
  html += "</tr></thead><tbody>\n";
  for (auto const& row : t.rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) html += concat("<td", kind(i), ">", escaped(row[i]), "</td>");
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

/// The figures that a reader looks for first: of what is measured, or else of what is predicted.
std::string key_figures(StudyResult const& result) {
  auto rows = result.shown();
  if (rows.empty())
    return "<p class=\"problem\">No point is measured yet. What is missing and why is listed below.</p>\n";
  bool const measured = !rows.front().is_predicted;
  std::erase_if(rows, [&](Shown const& s) { return s.is_predicted == measured; });
  auto const best = [&](double Figures::*f) {
    return *std::ranges::max_element(rows, {}, [f](Shown const& s) { return s.figures->figures.*f; });
  };
  auto const box = [](std::string const& figure, std::string const& what) {
    return concat("<div><b>", escaped(figure), "</b><span>", escaped(what), "</span></div>\n");
  };
  auto const percent = [](double x) {
    return x == x ? concat(static_cast<double>(static_cast<std::int64_t>(1000 * x + 0.5)) / 10, " %")
                  : std::string("-");
  };
  Shown const fast = best(&Figures::tokens_per_second), used = best(&Figures::mfu);
  std::string const how = measured ? "measured" : "predicted";
  return concat("<div class=\"key\">\n",
                box(format_count(fast.figures->figures.tokens_per_second) + " tokens/s",
                    "highest throughput: " + fast.point->label),
                box(percent(used.figures->figures.mfu), "highest MFU: " + used.point->label),
                box(percent(used.figures->figures.hfu), "HFU of the same point"),
                box(concat(rows.size(), " of ", result.points.size()),
                    concat("points ", how,
                           rows.size() < result.points.size() ? "; the others are listed below with the reason" : "")),
                "</div>\n");
}

}  // namespace

std::string html_text(StudyResult const& result, std::vector<Plot> const& plots,
                      std::vector<std::string> const& pictures, std::string const& problem) {
  std::string const name = escaped(result.study.name);
  std::string html = concat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<title>Study ",
      name, "</title><style>", style, "</style></head><body>\n<h1>Study ", name, "</h1>\n");
  if (!result.study.description.empty())
    html += concat("<p class=\"lead\">", escaped(result.study.description), "</p>\n");
  html += key_figures(result) + "<h2>What the figures rest on</h2>\n<dl>\n";
  for (auto const& [what, value] : conditions(result))
    html += concat("<dt>", escaped(what), "</dt><dd>", escaped(value), "</dd>\n");
  html += "</dl>\n";
  if (!problem.empty()) html += concat("<p class=\"problem\">", escaped(problem), "</p>\n");
  if (!pictures.empty()) html += "<h2>Figures</h2>\n<div class=\"plots\">\n";
  for (std::size_t i = 0; i < pictures.size(); ++i)
    html += concat("<figure><h3>", escaped(plots[i].title), "</h3>\n", pictures[i], "<figcaption>",
                   escaped(plots[i].caption), "</figcaption></figure>\n");
  if (!pictures.empty()) html += "</div>\n";
  for (Table const& t : {main_table(result), published_table(result), prediction_table(result), spread_table(result),
                         failure_table(result)})
    html += table_html(t);
  html += concat(
      "<footer>Made by selenite-sweep report, ", timestamp(),
      ". The same figures: report.csv (every repeat), report.md, report.tex, plots/*.gp.</footer>\n</body></html>\n");
  return html;
}

}  // namespace selenite
