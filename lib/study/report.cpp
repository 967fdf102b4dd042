#include "study/report.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "core/files.hpp"
#include "study/plot_script.hpp"

namespace selenite {

WrittenReport write_report(StudyResult const& result, std::string const& folder) {
  std::string const there = std::filesystem::absolute(folder).lexically_normal().string();
  WrittenReport report;
  auto const write = [&](char const* name, std::string const& text) {
    write_file_atomically(there + "/" + name, text);
    report.files.push_back(there + "/" + name);
  };
  make_folder(there + "/plots");
  write("report.csv", csv_text(result));
  write("report.md", markdown_text(result));
  write("report.tex", latex_text(result));
  auto const plots = plots_of(result);
  std::vector<std::string> pictures;
  try {
    for (Plot const& plot : plots) pictures.push_back(draw(plot.script, plot.name, there + "/plots"));
  } catch (Error const& e) {
    report.problem = e.what();
    pictures.clear();
  }
  write("report.html", html_text(result, plots, pictures, report.problem));
  return report;
}

}  // namespace selenite
