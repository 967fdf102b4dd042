#include <iostream>

#include "apps/common/job.hpp"
#include "run/loop.hpp"

using namespace selenite;

int main(int argc, char** argv) {
  return app::guarded("selenite-pretrain", argv, [&] {
    app::CommandLine command("selenite-pretrain",
                             "Trains a transformer language model as a TOML file says; goes on from the newest "
                             "checkpoint of its run folder.");
    app::RunOptions options;
    options.add_to(command);
    if (int const code = command.parse(argc, argv); code >= 0) return code;
    if (options.list_presets) {
      for (std::string const& name : preset_names()) std::cout << name << "\n";
      return 0;
    }
    return app::run_job("selenite-pretrain", options, argc, argv,
                        [](Config const& config, Comm& comm, RunRecord& record, RunLog& log) {
                          return pretrain(config, comm, record, log) == Ending::finished ? "finished" : "stopped";
                        });
  });
}
