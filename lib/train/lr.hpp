#pragma once
#include "core/config.hpp"

namespace selenite {

/// Learning rate for the step that starts after `consumed` samples, plus the batch it takes (the peer counts the step's
/// own samples: the first step already has a rate above zero). Linear warm-up to lr, then the schedule down to min_lr
/// at lr_decay.
double learning_rate(TrainConfig const& train, std::int64_t consumed);
/// Weight decay for the same step, from weight_decay to weight_decay_end over the training.
double weight_decay(TrainConfig const& train, std::int64_t consumed);

}  // namespace selenite
