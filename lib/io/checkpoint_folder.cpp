#include "io/checkpoint_folder.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>

#include "core/files.hpp"
#include "core/text.hpp"
#include "io/checkpoint_index.hpp"
#include "io/checkpoint_reader.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view prefix = "step-";
constexpr std::string_view partial = ".partial", removed = ".removed";

/// The step in "step-00000100"; none for other names.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(prefix)) return {};
  name.remove_prefix(prefix.size());
  std::int64_t step = 0;
  auto const [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || name.size() < 8) return {};
  return step;
}

void remove_quietly(fs::path const& path) noexcept {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

/// Under its own name a checkpoint is whole or not there: so it is renamed before it is removed.
void remove_checkpoint(fs::path const& folder) {
  fs::path const grave = folder.string() + std::string(removed);
  remove_quietly(grave);
  std::error_code error;
  fs::rename(folder, grave, error);
  if (!error) remove_quietly(grave);
}

/// Why a checkpoint is not whole; empty if it is.
std::string defect(IoThread& io, fs::path const& folder, CheckDepth depth) {
  try {
    CheckpointReader reader(io, folder);
    depth == CheckDepth::sizes ? reader.check_sizes() : reader.check_bytes();
    return {};
  } catch (std::exception const& reason) {
    return reason.what();
  }
}

/// Syncs the shards' names and sizes, after removing what belongs to no writer (an earlier save that was killed).
ShardSizes collect_shards(fs::path const& folder, std::span<PieceTable const> tables) {
  ShardSizes sizes;
  for (PieceTable const& table : tables) {
    if (std::none_of(table.pieces.begin(), table.pieces.end(), [](auto const& p) { return p.box.count.count() > 0; }))
      continue;
    std::string const name = shard_name(table.writer);
    validate(!sizes.contains(name), "Two writers have the number ", table.writer, ".");
    std::error_code error;
    auto const bytes = fs::file_size(folder / name, error);
    validate(!error, "The shard ", (folder / name).string(), " is not there (", error.message(), ").");
    sizes[name] = static_cast<std::int64_t>(bytes);
  }
  for (auto const& entry : fs::directory_iterator(folder))
    if (!sizes.contains(entry.path().filename())) remove_quietly(entry.path());
  return sizes;
}

/// Gives the partial folder its final name in one step, also where there is a checkpoint of that name.
void publish(fs::path const& from, fs::path const& to) {
  if (!is_there(to)) return rename_durably(from, to);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
    sync_folder(to.parent_path());
    remove_quietly(from);
    return;
  }
  remove_checkpoint(to);  // a file system without exchange
  rename_durably(from, to);
}

/// Removes the oldest whole checkpoints, so that no more than `keep` are there beside `newest`.
void remove_old(IoThread& io, fs::path const& root, fs::path const& newest, std::int64_t keep) {
  auto all = list_checkpoints(root);
  std::int64_t kept = 0;
  for (auto entry = all.rbegin(); entry != all.rend(); ++entry) {
    if (entry->folder == newest || !defect(io, entry->folder, CheckDepth::sizes).empty()) continue;
    if (++kept > keep) remove_checkpoint(entry->folder);
  }
}

}  // namespace

std::string checkpoint_name(std::int64_t step) {
  std::string digits = concat(step);
  if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');
  return concat(prefix, digits);
}

fs::path partial_folder(fs::path const& root, std::int64_t step) {
  return root / (checkpoint_name(step) + std::string(partial));
}

std::vector<CheckpointEntry> list_checkpoints(fs::path const& root) {
  std::vector<CheckpointEntry> entries;
  std::error_code error;
  fs::directory_iterator place(root, error);
  if (error == std::errc::no_such_file_or_directory) return entries;
  for (; !error && place != fs::directory_iterator(); place.increment(error))
    if (auto const step = step_of(place->path().filename().string())) entries.push_back({*step, place->path()});
  // what can't be listed is not empty: a run would begin anew beside checkpoints that it doesn't see
  validate(!error, "The checkpoints in ", root.string(), " can't be listed (", error.message(),
           "). Check the path and its permissions; they are as they were.");
  std::sort(entries.begin(), entries.end(), [](auto const& a, auto const& b) { return a.step < b.step; });
  return entries;
}

NewestCheckpoint newest_checkpoint(IoThread& io, fs::path const& root, CheckDepth depth) {
  NewestCheckpoint result;
  auto const entries = list_checkpoints(root);
  for (auto entry = entries.rbegin(); entry != entries.rend() && !result.found; ++entry) {
    std::string const reason = defect(io, entry->folder, depth);
    if (reason.empty())
      result.found = *entry;
    else
      result.skipped.push_back(reason);
  }
  return result;
}

fs::path commit_checkpoint(IoThread& io, fs::path const& root, CheckpointHeader const& header,
                           std::span<std::string const> texts, std::int64_t keep) {
  fs::path const from = partial_folder(root, header.step), to = root / checkpoint_name(header.step);
  try {
    std::vector<PieceTable> tables;
    for (std::string const& text : texts) tables.push_back(parse_piece_table(text));
    auto const tensors = join_tables(tables);
    make_folder(from);
    auto const shards = collect_shards(from, tables);
    io.run([&] { write_index(from / index_name, header, shards, tensors); });
    OpenFile(from / index_name, OpenFile::Mode::read).sync();
    sync_folder(from);
    // Before too: processes killed between publishing and removing, again and again, shall not fill the disk.
    if (keep > 0) remove_old(io, root, to, keep);
    publish(from, to);
  } catch (std::exception const& reason) {
    remove_quietly(from);
    throw Error(concat("The checkpoint ", to.string(), " cannot be completed (", reason_of(reason),
                       "). Older checkpoints are untouched."));
  }
  if (keep > 0) remove_old(io, root, to, keep - 1);
  return to;
}

void discard_partial(fs::path const& root, std::int64_t step) noexcept { remove_quietly(partial_folder(root, step)); }

void discard_leftovers(fs::path const& root) noexcept {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (fs::directory_iterator place(root, error), end; !error && place != end; place.increment(error)) {
    std::string name = place->path().filename().string();
    for (std::string_view const ending : {partial, removed})
      if (name.ends_with(ending) && step_of(name.substr(0, name.size() - ending.size())))
        leftovers.push_back(place->path());
  }
  for (fs::path const& path : leftovers) remove_quietly(path);
}

}  // namespace selenite
