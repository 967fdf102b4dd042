#pragma once
#include <string>
#include <vector>

#include "core/config.hpp"
#include "core/machine.hpp"

namespace selenite {

/// What a published table states.
enum class Quantity : std::uint8_t {
  iteration_seconds,
  hardware_tflops,  ///< a GPU, recomputation counted, attention whole (SC21's equation 3)
  model_tflops,     ///< the same without recomputation (Korthikanti et al., equation 7)
  forward_ms,       ///< of one layer and micro-batch
  backward_ms,      ///< the same, with what is made again
};
std::string_view name(Quantity quantity);
std::string_view unit(Quantity quantity);

/// A measurement that somebody published, and the config that says how that run was switched.
struct PublishedRow {
  std::string name;
  bool fitted = false;  ///< a constant of the machine file was fitted on it; else it is a test
  Quantity quantity = Quantity::iteration_seconds;
  double value = 0;
  Config config;  ///< not resolved
  /// Not stated by whoever published it: the fastest that fits is taken.
  bool any_micro_batch = false, any_interleave = false;
};
struct PublishedSet {
  std::string name;
  Machine machine;
  std::vector<PublishedRow> rows;
};

/// The sets of a folder such as scaling/published: NAME.csv with NAME.toml beside it, in order of name.
std::vector<std::string> published_names(std::string const& folder);
/// NAME.toml is a config as selenite-pretrain takes it; its machine.name is a file of ../machines. NAME.csv has a line
/// a row with the columns row, use (fit or test), quantity and published, then config keys; an empty cell of
/// train.micro_batch or layout.interleave is what the source does not state. Throws Error with file and line.
PublishedSet load_published(std::string const& folder, std::string const& name);
/// scaling/published of the tree or the package that this program belongs to. Throws Error if there is none.
std::string published_folder();

/// A row and what is predicted for it.
struct ValidatedRow {
  PublishedRow row;
  Config config;  ///< resolved, with what the source does not state
  double predicted = 0;
  double error() const { return predicted / row.value - 1; }
};
/// Throws Error if a row has no layout that can be run and fits.
std::vector<ValidatedRow> validate_set(PublishedSet const& set);
/// Mean of the sizes of the errors.
double mean_error(std::vector<ValidatedRow> const& rows);

/// A table with a line a row, and the mean.
std::string describe(PublishedSet const& set, std::vector<ValidatedRow> const& rows);
std::string to_json(PublishedSet const& set, std::vector<ValidatedRow> const& rows);

}  // namespace selenite
