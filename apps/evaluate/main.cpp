#include "apps/evaluate/options.hpp"
#include "core/files.hpp"

using namespace selenite;

int main(int argc, char** argv) {
  return app::guarded("selenite-evaluate", argv, [&] {
    app::CommandLine command("selenite-evaluate",
                             "Loss and perplexity of a checkpoint on a split or a text, and sampled text.");
    app::EvaluateOptions options;
    options.add_to(command);
    if (int const code = command.parse(argc, argv); code >= 0) return code;
    options.check(command);
    app::ErrorReport errors("selenite-evaluate");
    Config const given = load_config("", options.settings);
    return app::run_ranks(given, [&](Comm& comm) {
      try {
        app::require_same_job(comm, given);
        return app::evaluate(options, comm);
      } catch (Stopped const&) {
        throw;
      } catch (std::exception const& e) {
        errors.show(app::place_of(comm, Config{}) + message_of(e));
        if (comm.world() > 1) comm.abort(1);
        return 1;
      }
    });
  });
}
