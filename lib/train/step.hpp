#pragma once
#include <functional>

#include "train/grad_sync.hpp"
#include "train/optimizer.hpp"
#include "train/passes.hpp"

namespace selenite {

/// Fills a micro-batch in host memory: its number among this rank's micro-batches of the step, and the batch to fill.
using LoadBatch = std::function<void(Micro, Batch&)>;
/// Loads a micro-batch into its slot.
void load_batch(Ctx& ctx, ChunkState& chunk, Micro micro, LoadBatch const& load);

/// Called before each action, so that a watchdog can name it.
using Announce = std::function<void(Action)>;

/// Plays this rank's row of the schedule, of the step after `at`: passes, gradient sync, optimizer step. Moves `at` on.
StepResult train_step(Ctx& ctx, StageState& stage, Progress& at, LoadBatch const& load, Announce const& announce = {});

/// Mean loss and counted tokens of `micros` micro-batches, forward only, over all data ranks.
StepResult evaluate_batches(Ctx& ctx, StageState& stage, std::int64_t micros, LoadBatch const& load);

/// Global sample numbers of a rank's micro-batch: micro-batch i of data rank d takes the micro_batch samples that
/// follow first + (i * data ranks + d) * micro_batch.
std::int64_t first_sample(Config const& config, ProcessGrid const& grid, Rank rank, std::int64_t consumed, Micro micro);

}  // namespace selenite
