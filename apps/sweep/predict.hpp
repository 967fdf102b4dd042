#pragma once
#include <string>
#include <vector>

#include "apps/common/command_line.hpp"
#include "io/json.hpp"
#include "plan/predict.hpp"

namespace selenite::app {

/// Adds `selenite-sweep predict`.
void add_predict(CommandLine& line);

/// The config of a file that selenite-pretrain takes, or with the name of a preset the defaults for that model.
Config config_or_preset(std::string const& name, std::vector<std::string> const& settings);

/// A prediction as --json prints it.
JsonObject to_json(Prediction const& prediction, Config const& config, Machine const& machine);

}  // namespace selenite::app
