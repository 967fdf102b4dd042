// selenite-sweep: a study file in, one record a point and one report out; predictions and searches.
#include "apps/common/command_line.hpp"
#include "apps/sweep/calibrate.hpp"
#include "apps/sweep/commands.hpp"
#include "apps/sweep/predict.hpp"
#include "apps/sweep/search.hpp"
#include "apps/sweep/validate.hpp"

using namespace selenite;

int main(int argc, char** argv) {
  return app::guarded("selenite-sweep", argv, [&] {
    app::CommandLine line(
        "selenite-sweep",
        "Runs a study: trains one config with every combination of some values, keeps one record a point, "
        "and writes one report.");
    app::add_studies(line);
    app::add_calibrate(line);
    app::add_predict(line);
    app::add_search(line);
    app::add_validate(line);
    return line.parse(argc, argv);
  });
}
