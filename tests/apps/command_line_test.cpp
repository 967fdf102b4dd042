// Options that all executables share, and how a wrong command line is answered.
#include <map>

#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {
std::map<std::string, std::vector<std::string>> const programs{
    {"preprocess", {"tokenize", "train-tokenizer", "merge", "inspect"}},
    {"pretrain", {}},
    {"evaluate", {}},
    {"sweep", {"plan", "run", "submit", "status", "collect", "report", "predict", "search", "validate"}}};
}  // namespace

BOOST_AUTO_TEST_SUITE(command_line)

BOOST_AUTO_TEST_CASE(help_tells_usage_options_and_subcommands) {
  Desk const desk;
  for (auto const& [program, subcommands] : programs) {
    std::string const help = desk.succeeds(program, {"--help"});
    BOOST_TEST(contains(help, "Usage: selenite-" + program));
    BOOST_TEST(contains(help, "--version"));
    for (std::string const& subcommand : subcommands) {
      BOOST_TEST(contains(help, "\n  " + subcommand + " "), help);
      std::string const more = desk.succeeds(program, {subcommand, "--help"});
      BOOST_TEST(contains(more, concat("Usage: selenite-", program, " ", subcommand)), more);
    }
  }
}

BOOST_AUTO_TEST_CASE(help_of_pretrain_explains_every_field_that_print_config_knows) {
  Desk const desk;
  std::string const help = desk.succeeds("pretrain", {"--help"});
  std::string const config = desk.succeeds("pretrain", {"--print-config", "--set", "data.train=x"});
  std::regex const field("(^|\n)([a-z0-9_]+) = ");
  int fields = 0;
  for (std::sregex_iterator m(config.begin(), config.end(), field), end; m != end; ++m, ++fields) {
    // name = default, then at least one word about it
    std::regex const explained("\n  " + (*m)[2].str() + " = [^\n]*  +[^ \n]+");
    BOOST_TEST(std::regex_search(help, explained), (*m)[2].str() << " is not explained");
  }
  BOOST_TEST(fields > 60);
}

BOOST_AUTO_TEST_CASE(version_names_commit_compiler_and_libraries) {
  Desk const desk;
  for (auto const& [program, subcommands] : programs) {
    std::string const text = desk.succeeds(program, {"--version"});
    BOOST_TEST(text.starts_with(concat("selenite-", program, " " SELENITE_VERSION " (commit ")), text);
    for (std::string const& library : split(SELENITE_LIBRARIES, ' '))
      BOOST_TEST(std::regex_search(text, std::regex(", " + library + " [0-9]+\\.[0-9]+")), library << ": " << text);
  }
}

BOOST_AUTO_TEST_CASE(a_wrong_command_line_gives_code_2) {
  Desk const desk;
  for (auto const& [program, subcommands] : programs) {
    if (subcommands.empty()) {
      desk.fails(program, {"x", "--wrold", "2"}, {"--wrold"}, 2);
      continue;
    }
    desk.fails(program, {subcommands.back(), "x", "--wrold", "2"}, {"--wrold"}, 2);
    desk.fails(program, {}, {"subcommand is required"}, 2);
    desk.fails(program, {"--wrold"}, {"subcommand is required"}, 2);
    for (std::string const& subcommand : subcommands)
      if (subcommand != "validate") desk.fails(program, {subcommand}, {"required"}, 2);  // that one needs no argument
  }
  desk.fails("pretrain", {"--world", "two", "--dry-run"}, {"--world"}, 2);
  desk.fails("pretrain", {"--world", "-4", "--dry-run"}, {"--world", "-4 is negative"}, 2);
  desk.fails("sweep", {"predict", "gpt-tiny", "--gpus", "-1"}, {"--gpus", "-1 is negative"}, 2);
  desk.fails("sweep", {"search", "gpt-tiny", "--gpus", "8", "--batch=-3"}, {"--batch", "-3 is negative"}, 2);
  desk.fails("evaluate", {}, {"checkpoint is required"}, 2);
  desk.fails("evaluate", {"run", "--split", "vaild"}, {"vaild", "{train,valid,test}"}, 2);
  desk.fails("preprocess", {"tokenize", "a.txt", "--tokenizer", "bytes"}, {"--output"}, 2);
}

BOOST_AUTO_TEST_SUITE_END()
