#pragma once
#include <functional>
#include <optional>
#include <string>

#include "comm/comm.hpp"
#include "core/config.hpp"
#include "io/record.hpp"
#include "run/log.hpp"

namespace selenite {

/// How a run ended.
enum class Ending : std::uint8_t { finished, stopped };

/// Trains as `config` (resolved) says, on the ranks of `comm`: resumes from the newest whole checkpoint, validates,
/// saves, logs, and stops with a save when a signal asks for it (the caller's SignalGuard takes it). Writes into
/// run.folder: log.txt, metrics.jsonl, TensorBoard events, checkpoints, run.json. Fills the record's summary on the
/// way. Throws Error when the run fails; run.json then says why.
Ending pretrain(Config const& config, Comm& comm, RunRecord& record, RunLog& log);

/// Where checkpoints of a run go.
std::filesystem::path checkpoint_root(Config const& config);

}  // namespace selenite
