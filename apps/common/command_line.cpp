#include "apps/common/command_line.hpp"

#include <CLI/CLI.hpp>
#include <iostream>

#include "core/error.hpp"

namespace selenite::app {

struct CommandLine::Impl {
  std::unique_ptr<CLI::App> owned;  // the program itself; subcommands belong to it
  CLI::App* app = nullptr;
  std::vector<std::pair<CLI::App*, std::function<int()>>>* runs = nullptr;
  std::unique_ptr<std::vector<std::pair<CLI::App*, std::function<int()>>>> owned_runs;
};

CommandLine::CommandLine(std::string program, std::string description) : impl_(std::make_unique<Impl>()) {
  impl_->owned = std::make_unique<CLI::App>(description, program);
  impl_->app = impl_->owned.get();
  impl_->owned_runs = std::make_unique<std::vector<std::pair<CLI::App*, std::function<int()>>>>();
  impl_->runs = impl_->owned_runs.get();
  impl_->app->set_version_flag("--version", version_text(program));
  impl_->app->get_formatter()->column_width(34);
  impl_->app->failure_message([program](CLI::App const*, CLI::Error const& error) {
    return concat(program, ": this command line can't be used (", error.what(), "). See --help.\n");
  });
}
CommandLine::CommandLine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CommandLine::CommandLine(CommandLine&&) noexcept = default;
CommandLine::~CommandLine() = default;

namespace {
template <class T>
CLI::Option* add(CLI::App& app, std::string const& names, T& value, std::string const& help, bool required) {
  auto* o = app.add_option(names, value, help);
  if constexpr (!std::is_same_v<T, std::string> && !std::is_same_v<T, std::vector<std::string>>)
    o->capture_default_str();
  if constexpr (std::is_same_v<T, std::string>)
    if (!value.empty()) o->capture_default_str();
  if (required) o->required();
  return o;
}
}  // namespace

CommandLine& CommandLine::option(std::string const& names, std::string& value, std::string const& help, bool required) {
  add(*impl_->app, names, value, help, required);
  return *this;
}
CommandLine& CommandLine::option(std::string const& names, std::int64_t& value, std::string const& help,
                                 bool required) {
  add(*impl_->app, names, value, help, required)->check([](std::string const& text) {
    return text.starts_with('-') ? concat(text, " is negative, and it counts things") : "";
  });
  return *this;
}
CommandLine& CommandLine::option(std::string const& names, double& value, std::string const& help, bool required) {
  add(*impl_->app, names, value, help, required);
  return *this;
}
CommandLine& CommandLine::option(std::string const& names, std::vector<std::string>& values, std::string const& help,
                                 bool required) {
  add(*impl_->app, names, values, help, required);
  return *this;
}
CommandLine& CommandLine::flag(std::string const& names, bool& value, std::string const& help) {
  impl_->app->add_flag(names, value, help);
  return *this;
}
CommandLine& CommandLine::flag(std::string const& names, std::string& value, std::string const& help) {
  impl_->app->add_flag(names, value, help);
  return *this;
}
CommandLine& CommandLine::choice(std::string const& names, std::string& value, std::vector<std::string> const& words,
                                 std::string const& help) {
  impl_->app->add_option(names, value, help)->check(CLI::IsMember(words))->capture_default_str();
  return *this;
}
CommandLine& CommandLine::repeated(std::string const& names, std::vector<std::string>& values,
                                   std::string const& help) {
  impl_->app->add_option(names, values, help)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  return *this;
}
CommandLine CommandLine::subcommand(std::string const& name, std::string const& description, std::function<int()> run) {
  auto child = std::make_unique<Impl>();
  child->app = impl_->app->add_subcommand(name, description);
  child->runs = impl_->runs;
  impl_->app->require_subcommand(1);
  impl_->runs->emplace_back(child->app, std::move(run));
  return CommandLine(std::move(child));
}
bool CommandLine::given(std::string const& name) const { return impl_->app->count(name) > 0; }
CommandLine& CommandLine::footer(std::string const& text) {
  impl_->app->footer(text);
  return *this;
}

int CommandLine::parse(int argc, char** argv) {
  try {
    impl_->app->parse(argc, argv);
  } catch (CLI::ParseError const& e) {
    int const code = impl_->app->exit(e);
    return code == 0 ? 0 : 2;
  }
  for (auto const& [app, run] : *impl_->runs)
    if (app->parsed() && run) return run();
  return -1;
}

}  // namespace selenite::app
