#pragma once
#include <boost/test/unit_test.hpp>
#include <regex>

#include "core/text.hpp"
#include "tests/io/support.hpp"
#include "tests/run/program.hpp"

namespace selenite::test {

/// What a program left: its exit status (minus the signal that ended it) and all that it wrote.
struct Outcome {
  int code;
  std::string out, errors;
};

/// The working folder of a test case, gone at its end, where a user sits and starts the executables.
class Desk {
 public:
  Desk() { std::filesystem::current_path(folder_.path()); }
  ~Desk() { std::filesystem::current_path(before_); }

  /// `program` without "selenite-".
  Outcome run(std::string const& program, std::vector<std::string> command, std::int64_t address_space = 0) const {
    command.insert(command.begin(), SELENITE_BIN "/selenite-" + program);
    Program child(command, folder_ / ".out", {.errors = folder_ / ".errors", .address_space = address_space});
    int const code = child.wait();
    return {code, child.output(), read_file(folder_ / ".errors")};
  }

  /// The standard output of a program that does what was asked for, without complaint.
  std::string succeeds(std::string const& program, std::vector<std::string> const& command) const {
    Outcome const o = run(program, command);
    BOOST_TEST(o.code == 0, program << " " << join(command, " ") << ": " << o.errors);
    BOOST_TEST(o.errors == "");
    return o.out;
  }

  /// A program that refuses: nothing on standard output, and one line of the grammar on standard error, "program: what
  /// (why). What to do.", with these parts in it.
  void fails(std::string const& program, std::vector<std::string> const& command, std::vector<std::string> const& parts,
             int code = 1) const {
    Outcome const o = run(program, command);
    BOOST_TEST_CONTEXT(program << " " << join(command, " ") << ": " << o.errors) {
      BOOST_TEST(o.code == code);
      BOOST_TEST(o.out == "");
      BOOST_TEST(std::regex_match(o.errors, std::regex("\n?selenite-" + program + ": .+ \\(.+\\)\\. .+[.?]\n")));
      for (std::string const& part : parts) BOOST_TEST(contains(o.errors, part), "there is no \"" << part << "\"");
    }
  }

 private:
  std::filesystem::path before_ = std::filesystem::current_path();
  TemporaryFolder folder_;
};

inline void write_file(std::filesystem::path const& path, std::string const& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace selenite::test
