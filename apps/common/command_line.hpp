#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace selenite::app {

/// The options of an executable or of one of its subcommands: a thin cover of CLI11, so that one file includes it.
/// Names are CLI11's: "--key", "-k,--key", or a bare name for a positional. The variable's value is the default shown.
class CommandLine {
 public:
  CommandLine(std::string program, std::string description);
  ~CommandLine();
  CommandLine(CommandLine&&) noexcept;

  CommandLine& option(std::string const& names, std::string& value, std::string const& help, bool required = false);
  /// A count: what is below 0 is refused.
  CommandLine& option(std::string const& names, std::int64_t& value, std::string const& help, bool required = false);
  CommandLine& option(std::string const& names, double& value, std::string const& help, bool required = false);
  CommandLine& option(std::string const& names, std::vector<std::string>& values, std::string const& help,
                      bool required = false);
  CommandLine& flag(std::string const& names, bool& value, std::string const& help);
  /// A flag that may be given a text, --key=text; without one the value is "true".
  CommandLine& flag(std::string const& names, std::string& value, std::string const& help);
  /// One of a list of words.
  CommandLine& choice(std::string const& names, std::string& value, std::vector<std::string> const& words,
                      std::string const& help);
  /// A repeatable option whose values are taken one at a time (--set a=1 --set b=2).
  CommandLine& repeated(std::string const& names, std::vector<std::string>& values, std::string const& help);
  /// A subcommand with options of its own; `run` is called after parsing if it was given. With subcommands one is
  /// required.
  CommandLine subcommand(std::string const& name, std::string const& description, std::function<int()> run);
  /// Whether an option is on the command line, once that is parsed.
  bool given(std::string const& name) const;
  /// Text printed after the options by --help.
  CommandLine& footer(std::string const& text);

  /// Parses, prints --help or --version, and calls the subcommand's run, if any. Returns the exit code if the program
  /// is to end now (help, version, wrong options, a subcommand that ran), or -1 to go on.
  int parse(int argc, char** argv);

 private:
  struct Impl;
  explicit CommandLine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// "selenite-pretrain 0.1.0 (commit, compiler, libraries)"
std::string version_text(std::string const& program);

/// Runs a program's body and turns what it throws into "program: message" on standard error and exit code 1. Starts the
/// process over, once, if the environment does not say how long OpenMP threads spin before they sleep: GCC's default is
/// long, and on cores that others use, too, spinning threads take the time of those that work (LOG.md, 2026-11-23). The
/// runtime reads the variable when it is loaded, so that it can't be set later.
int guarded(std::string const& program, char** argv, std::function<int()> const& body);

}  // namespace selenite::app
