#pragma once
#include <string>
#include <vector>

#include "core/config.hpp"

namespace selenite {

/// What is taken up of a checkpoint: the training, which goes on, or its weights alone, where another begins.
enum class TakenUp : std::uint8_t { training, weights };

/// Throws Error if a checkpoint made with the config `was` is of another model than `now`: another function or other
/// shapes. How the vocabulary is padded, how attention is computed and what training alone does (dropout) are no part
/// of the model; the length of a sample is, but for the weights of a model without a table of positions.
void require_same_model(Config const& was, Config const& now, TakenUp taken, std::string const& checkpoint);

/// The fields that differ and make the training another one, as "train.seed (77, was 1234)". Not those that say where,
/// how long or on what a run trains, and what it writes.
std::vector<std::string> changes_of_training(Config const& was, Config const& now);

}  // namespace selenite
