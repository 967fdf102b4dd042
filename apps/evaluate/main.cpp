#include "apps/evaluate/options.hpp"
#include "core/error.hpp"

using namespace selenite;

int main(int argc, char** argv) {
  return app::guarded("selenite-evaluate", argv, [&] {
    app::CommandLine command("selenite-evaluate",
                             "Loss and perplexity of a checkpoint on a split or a text, and sampled text.");
    app::EvaluateOptions options;
    options.add_to(command);
    if (int const code = command.parse(argc, argv); code >= 0) return code;
    auto const comm = app::make_comm(CommKind::automatic);
    try {
      return app::evaluate(options, *comm);
    } catch (Error const& e) {
      if (comm->world() == 1) throw;
      app::report_and_abort("selenite-evaluate", *comm, e.what());
    }
  });
}
