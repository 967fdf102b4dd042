#pragma once
#include <vector>

#include "core/config.hpp"
#include "core/file_lock.hpp"
#include "run/log.hpp"

namespace selenite {

/// Makes the folders that a run writes to and takes them for this job, as long as the locks live: for rank 0. Throws
/// Error if another job is at work in one of them; what is in it stays as it is. Where the file system has no locks,
/// the log says so.
std::vector<FileLock> claim_folders(Config const& config, RunLog& log);

}  // namespace selenite
