// gnuplot as a child process, and its SVG made fit to stand in a page beside others.
#include <chrono>
#include <filesystem>
#include <regex>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/toml.hpp"
#include "study/child.hpp"
#include "study/plot_script.hpp"

namespace selenite {
namespace {

void run_gnuplot(std::string const& script, std::string const& log) {
  std::error_code ignored;
  std::filesystem::remove(log, ignored);
  std::optional<Child> child;
  try {
    child.emplace(std::vector<std::string>{"gnuplot", script}, ChildOptions{log});
  } catch (Error const&) {
    throw Error(
        "The plots can't be drawn (there is no gnuplot in PATH). Install it: apt install gnuplot-nox, or spack install "
        "gnuplot; then run report again.");
  }
  auto const end = child->wait_for(std::chrono::minutes(2));
  validate(end.has_value(), "gnuplot hangs on ", script, " (it did not end in two minutes). Try it by hand.");
  validate(end->exit_code == 0 && end->signal == 0, "gnuplot refuses ", script, " (see ", log, "). Try it by hand.");
}

/// Only the <svg> element, sized by the page; ids carry the plot's name, since a page holds several.
std::string for_a_page(std::string svg, std::string const& name) {
  auto const first = svg.find("<svg");
  validate(first != std::string::npos, "gnuplot drew no picture for ", name,
           " (its output has no svg element). Try its script by hand.");
  svg.erase(0, first);
  svg = std::regex_replace(svg, std::regex(R"re(\bid\s*=\s*(["']))re"), "id=$1" + name + "-");
  svg = std::regex_replace(svg, std::regex(R"re((href\s*=\s*["']|url\()#)re"), "$1#" + name + "-");
  return svg;
}

}  // namespace

std::string draw(std::string const& script, std::string const& name, std::string const& folder) {
  std::string const stem = folder + "/" + name;
  std::error_code ignored;
  std::filesystem::remove(stem + ".svg", ignored);
  write_file_atomically(stem + ".gp",
                        concat("# gnuplot ", name, ".gp draws ", name, ".svg\nset output '", name, ".svg'\n", script));
  // the script names its output without a folder, so that people can run it where it lies
  std::string const there = std::regex_replace(folder, std::regex("'"), "''");
  write_file_atomically(stem + ".run.gp", concat("cd '", there, "'\nload '", name, ".gp'\n"));
  run_gnuplot(stem + ".run.gp", stem + ".log");
  std::filesystem::remove(stem + ".run.gp", ignored);
  std::filesystem::remove(stem + ".log", ignored);
  return for_a_page(read_text_file(stem + ".svg", "picture"), name);
}

}  // namespace selenite
