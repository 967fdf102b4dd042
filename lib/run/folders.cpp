#include "run/folders.hpp"

#include <cerrno>
#include <system_error>

#include "core/error.hpp"
#include "core/files.hpp"

namespace selenite {

std::vector<FileLock> claim_folders(Config const& config, RunLog& log) {
  std::vector<std::filesystem::path> folders{config.run.folder};
  if (!config.checkpoint.folder.empty()) folders.emplace_back(config.checkpoint.folder);
  for (auto const& folder : folders) make_folder(folder);
  std::error_code ignored;
  if (std::filesystem::equivalent(folders.front(), folders.back(), ignored)) folders.resize(1);
  std::vector<FileLock> locks;
  for (auto const& folder : folders) {
    FileLock lock(folder / "run.lock");
    int const refusal = lock.take();
    validate(refusal != EWOULDBLOCK, "Another job is at work in ", folder.string(), " (process ", lock.holder(),
             " holds ", lock.path().string(),
             "; two would write over each other's files). Wait for its end, or use another run.folder and "
             "checkpoint.folder.");
    if (refusal != 0)
      log.line(concat("The file system of ", folder.string(), " does not lock (",
                      std::generic_category().message(refusal),
                      "): nothing but you keeps another job out of this folder."));
    locks.push_back(std::move(lock));
  }
  return locks;
}

}  // namespace selenite
