#include "run/checkpoints.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "core/files.hpp"
#include "core/text.hpp"
#include "io/build_info.hpp"
#include "run/continuation.hpp"
#include "train/grad_sync.hpp"

namespace selenite {
namespace {

struct Kind {
  char const* name;
  Tensor flat;
};

std::vector<Kind> kinds(StageState const& stage, bool with_moments) {
  std::vector<Kind> list{{"weight", stage.exact_weights()}};
  if (with_moments) list.push_back({"m", stage.moment1}), list.push_back({"v", stage.moment2});
  return list;
}

/// A run of parameter i's elements, which this rank holds.
void append(std::vector<CheckpointPiece>& pieces, StageState const& stage, Kind const& kind, std::size_t i,
            OwnedRun const& run) {
  Param const& p = stage.parameters()[i]->spec;
  CheckpointPiece const whole{kind.name, p.name, p.shape, box_of(p, stage.grid(), stage.rank()), {}};
  auto const parts = pieces_of_run(whole, run.begin - stage.layout().offsets[i], stage.owned(kind.flat, run));
  pieces.insert(pieces.end(), parts.begin(), parts.end());
}

/// The histories behind 8-bit scales, alike on all ranks that share the stage.
std::vector<CheckpointPiece> fp8_pieces(StageState const& stage) {
  std::vector<CheckpointPiece> pieces;
  for (auto const& [name, row] : fp8_history_rows(stage))
    pieces.push_back({"amax", name, row.shape(), {{0}, row.shape()}, row});
  return pieces;
}

/// Two trainings in one folder would be taken for one: the newest checkpoint of both would be resumed from, and the
/// lower steps removed as the older ones.
void require_no_checkpoints(std::filesystem::path const& root) {
  auto const there = list_checkpoints(root);
  validate(there.empty(), "With checkpoint.resume = false a training can't begin in ", root.string(),
           " (the checkpoints in it, up to ", there.empty() ? "" : there.back().folder.filename().string(),
           ", would mix with the new ones). Use another run.folder, or move or remove them.");
}

/// Of the whole model, whatever part of it this rank holds.
std::set<std::string> parameter_names(StageState const& stage) {
  Config config = stage.config();
  config.layout = {.data = 1};
  GptChunk whole(config, ProcessGrid(), Rank(0), {.count = config.model.layers}, stage.dtype());
  std::set<std::string> names;
  for (Parameter const* p : whole.parameters()) names.insert(p->spec.name);
  return names;
}

/// May a tensor of one shape be filled from another? Where they differ by rows at the end that take no part.
bool may_be_cut(Shape shape, Shape const& there, std::int64_t rows) {
  if (shape.rank() != there.rank() || shape[0] < rows || there[0] < rows) return false;
  shape[0] = there[0];
  return shape == there;
}

/// Leaves of a piece what a tensor of the shape `there` has of it.
void cut(CheckpointPiece& piece, Shape const& there) {
  piece.shape = there;
  std::int64_t const rows = std::clamp<std::int64_t>(there[0] - piece.box.begin[0], 0, piece.box.count[0]);
  if (rows == piece.box.count[0]) return;
  piece.box.count[0] = rows;
  piece.data = there.rank() == 1 ? run_of(piece.data, 0, rows) : piece.data.row_range(0, rows);
}

/// All ranks learn the first error that any of them had.
void agree(Comm& comm, std::string const& error) {
  auto const all = comm.all_gather(error);
  for (std::size_t r = 0; r < all.size(); ++r)
    validate(all[r].empty(), all.size() > 1 ? concat("Rank ", r, ": ") : "", all[r]);
}
template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
    return {};
  } catch (std::exception const& e) {
    return e.what();
  }
}

}  // namespace

std::vector<CheckpointPiece> pieces_to_write(StageState const& stage) {
  ProcessGrid const& grid = stage.grid();
  FlatLayout const& layout = stage.layout();
  AxisSet const replicas{Axis::context, Axis::expert, Axis::data};
  std::int64_t const ranks = grid.size(replicas), index = grid.index_in_group(stage.rank(), replicas);
  std::vector<CheckpointPiece> pieces;
  for (Kind const& kind : kinds(stage, true))
    for (std::size_t i = 0; i < stage.parameters().size(); ++i) {
      // of copies on tensor ranks and stages the first is written
      if (!counts(stage.parameters()[i]->spec, grid, stage.rank(), {Axis::tensor, Axis::pipe})) continue;
      Run run = layout.parameter(i);
      if (layout.shards == 1) {  // all of these ranks own it: each writes a share
        std::int64_t const first = run.count * index / ranks, last = run.count * (index + 1) / ranks;
        run = {run.begin + first, last - first, false};
      }
      if (run.count == 0) continue;
      for (OwnedRun const& owned : layout.owned({run})) append(pieces, stage, kind, i, owned);
    }
  if (grid.index_in_group(stage.rank(), replicas.with(Axis::tensor)) == 0) {
    auto const histories = fp8_pieces(stage);
    pieces.insert(pieces.end(), histories.begin(), histories.end());
  }
  return pieces;
}

std::vector<CheckpointPiece> pieces_to_read(StageState const& stage, bool with_moments) {
  std::vector<CheckpointPiece> pieces;
  for (Kind const& kind : kinds(stage, with_moments))
    for (std::size_t i = 0; i < stage.parameters().size(); ++i)
      for (OwnedRun const& run : stage.layout().owned({stage.layout().parameter(i)}))
        append(pieces, stage, kind, i, run);
  return pieces;
}

void restore(StageState& stage, CheckpointReader& reader, bool with_moments) {
  auto pieces = pieces_to_read(stage, with_moments);
  for (CheckpointPiece const& p : fp8_pieces(stage))  // none in a checkpoint of another precision: scales begin anew
    if (reader.find(p.kind, p.name)) pieces.push_back(p);
  std::map<std::string, std::int64_t> rows;  // that take part
  for (Parameter const* p : stage.parameters()) rows[p->spec.name] = p->spec.shape[0] - p->spec.padding;
  std::string last;
  Shape there;
  for (CheckpointPiece& p : pieces) {
    if (std::exchange(last, p.kind + "/" + p.name) != p.kind + "/" + p.name) {
      auto const info = reader.find(p.kind, p.name);
      validate(info.has_value(), "The checkpoint ", reader.folder().string(), " has no ", p.kind, " of ", p.name,
               " (it is of another model, or incomplete). Use the config it was made with, or another folder.");
      there = info->shape;
    }
    auto const row = rows.find(p.name);  // of a history any number of steps will do
    validate(may_be_cut(p.shape, there, row == rows.end() ? 1 : row->second), "The checkpoint ",
             reader.folder().string(), " has ", p.name, " with shape ", to_string(there), " but this model's is ",
             to_string(p.shape),
             " (it is of another model). Use the config it was made with, or another checkpoint.folder.");
    cut(p, there);
  }
  auto const known = parameter_names(stage);
  for (std::string const& name : reader.names("weight"))
    validate(known.contains(name), "The checkpoint ", reader.folder().string(), " has ", name,
             ", which this model lacks (it is of another model). Use the config it was made with, or another "
             "checkpoint.folder.");
  std::erase_if(pieces, [](CheckpointPiece const& p) { return p.box.count.count() == 0; });
  reader.read(pieces);
}

Checkpoints::Checkpoints(Config const& config, Comm& comm, StageState& stage, std::filesystem::path root)
    : config_(config), comm_(comm), stage_(stage), root_(std::move(root)) {
  agree(comm_, error_of([&] {
          make_folder(root_);
          if (*comm_.rank() != 0) return;
          if (!config_.checkpoint.resume) require_no_checkpoints(root_);
          discard_leftovers(root_);
        }));
}

Resumed Checkpoints::resume(Ctx& ctx) {
  Resumed result;
  std::vector<std::byte> bytes;  // the steps, newest first, as rank 0 sees them
  agree(comm_, error_of([&] {
          if (*comm_.rank() != 0) return;
          for (CheckpointEntry const& entry : list_checkpoints(root_)) {
            auto const* raw = reinterpret_cast<std::byte const*>(&entry.step);
            bytes.insert(bytes.begin(), raw, raw + sizeof entry.step);
          }
        }));
  comm_.broadcast(bytes, Rank(0));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::int64_t)) {
    std::int64_t step = 0;
    std::memcpy(&step, bytes.data() + at, sizeof step);
    Progress progress = Progress::initial(config_.train);
    std::string other_model;
    std::string const error = error_of([&] {
      agree(comm_, error_of([&] {
              CheckpointReader reader(io_, root_ / checkpoint_name(step));
              reader.check_sizes();
              Config const was = parse_config(reader.header().config, {}, reader.folder().string());
              other_model =
                  error_of([&] { require_same_model(was, config_, TakenUp::training, reader.folder().string()); });
              if (!other_model.empty()) return;
              result.changes = changes_of_training(was, config_);
              restore(stage_, reader, true);
              progress.step = reader.header().step, progress.consumed = reader.header().consumed_samples;
              progress.read_notes(reader.header().info);
            }));
    });
    validate(other_model.empty(), other_model);  // an older one is no better
    if (error.empty()) {
      publish_weights(ctx, stage_);
      last_ = root_ / checkpoint_name(step);
      result.at = progress;
      return result;
    }
    result.skipped.push_back(error);
  }
  auto const& skipped = result.skipped;
  validate(skipped.empty(), skipped.empty() ? "" : skipped.front(), " None of the ", skipped.size(), " checkpoints in ",
           root_.string(), " can be loaded. Move or remove them to begin anew, or use another run.folder.");
  return result;
}

void Checkpoints::start(Ctx& ctx, Progress const& at) {
  poll(true);
  ctx.wait_for_comm();
  agree(comm_, error_of([&] {
          if (!writer_) {
            pieces_ = pieces_to_write(stage_);
            writer_.emplace(io_, staging_bytes(pieces_),
                            stage_.device() == Device::cuda ? Memory::Kind::pinned : Memory::Kind::host);
          }
          stage_.copied = ctx.on(Lane::save, [&] {
            writer_->start(partial_folder(root_, at.step), at.step, pieces_, static_cast<int>(*comm_.rank()),
                           ctx.stream());
          });
        }));
  under_way_ = at;
}

std::optional<std::filesystem::path> Checkpoints::poll(bool wait) {
  if (!under_way_) return std::nullopt;
  std::string error = error_of([&] {
    if (wait) writer_->wait();
  });
  double pending = 0;
  if (error.empty()) error = error_of([&] { pending = writer_->done() ? 0 : 1; });
  double state = error.empty() ? pending : 2;
  comm_.all_reduce({&state, 1}, Reduction::max);
  if (state == 1) return std::nullopt;
  Progress const at = *under_way_;
  under_way_.reset();
  if (state == 2) {
    comm_.barrier();
    if (*comm_.rank() == 0) discard_partial(root_, at.step);
    agree(comm_, error);
  }
  auto const tables = comm_.all_gather(piece_table(pieces_, static_cast<int>(*comm_.rank())));
  std::filesystem::path const folder = root_ / checkpoint_name(at.step);
  agree(comm_, error_of([&] {
          if (*comm_.rank() != 0) return;
          BuildInfo const build = build_info();
          CheckpointHeader header{.step = at.step, .consumed_samples = at.consumed, .config = to_toml(config_)};
          header.info = build.libraries;
          header.info.merge(at.notes());
          header.info["selenite"] = build.version + " " + build.commit;
          commit_checkpoint(io_, root_, header, tables, config_.checkpoint.keep);
        }));
  last_ = folder;
  return folder;
}

}  // namespace selenite
