#include "io/checkpoint_writer.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <xxhash.h>

#include "core/cuda_event.hpp"
#include "core/files.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "io/boxes.hpp"
#include "io/finite.hpp"
#include "io/hdf5.hpp"

namespace selenite {
namespace {

constexpr std::size_t transfers_a_moment = 8;
constexpr std::int64_t writeback_step = 32 << 20;  // bytes given to the disk at a time

/// One chunk of a piece on its way: from the piece to staging memory to the file.
struct Transfer {
  std::size_t piece = 0;
  std::int64_t chunk = 0;   // of the piece
  std::int64_t offset = 0;  // in the staging memory
};

/// A save under way; shared by the thread that copies and the one that writes.
struct Save {
  std::vector<CheckpointPiece> pieces;
  std::vector<std::string> datasets;  // of the pieces
  std::vector<ChunkGrid> grids;       // of the pieces
  std::vector<Transfer> transfers;
  std::vector<std::uint64_t> checksums;  // of the transfers
  std::vector<std::atomic<int>> ready;   // of the transfers
  std::vector<CudaEvent> copied;         // each `transfers_a_moment` of the transfers, where a stream copies them
  std::int64_t bytes = 0;
  std::atomic<CheckpointPiece const*> not_finite{nullptr};  // one that has such values

  explicit Save(std::span<CheckpointPiece const> all) {
    for (CheckpointPiece const& piece : all) {
      check_piece(piece);
      if (piece.box.count.count() == 0) continue;
      grids.emplace_back(piece.box.count, piece.data.dtype());
      for (std::int64_t i = 0; i < grids.back().total; ++i) {
        transfers.push_back({pieces.size(), i, bytes});
        bytes += align_up(grids.back().bytes, 64);
      }
      pieces.push_back(piece);
    }
    datasets = dataset_names(pieces);
    checksums.resize(transfers.size());
    ready = std::vector<std::atomic<int>>(transfers.size());
  }

  /// An upper bound of the size of the shard: chunks begin on pages, each dataset has a header and its checksums.
  std::int64_t file_bytes() const {
    return bytes + (1 << 20) + static_cast<std::int64_t>(transfers.size() + pieces.size()) * 4096;
  }

  std::int64_t elements(Transfer const& t) const { return grids[t.piece].box(t.chunk).count.count(); }
  void copy(std::size_t t, std::byte* staging, CUstream_st* stream) const {
    Transfer const& transfer = transfers[t];
    pack(pieces[transfer.piece].data, grids[transfer.piece].first(transfer.chunk), elements(transfer),
         staging + transfer.offset, stream);
  }
  /// Pads chunk t at the edge, takes its checksum and looks at its values.
  void seal(std::size_t t, std::byte* staging) {
    Transfer const& transfer = transfers[t];
    std::byte* const chunk = staging + transfer.offset;
    std::int64_t const size = grids[transfer.piece].bytes,
                       used = elements(transfer) * size_of(pieces[transfer.piece].data.dtype());
    std::memset(chunk + used, 0, static_cast<std::size_t>(size - used));
    checksums[t] = XXH3_64bits(chunk, static_cast<std::size_t>(size));
    CheckpointPiece const& piece = pieces[transfer.piece];
    if (!all_finite(chunk, piece.data.dtype(), elements(transfer))) not_finite = &piece;
  }
  /// By a thread of the caller, while the chunk is in its cache.
  void stage(std::size_t t, std::byte* staging) {
    copy(t, staging, nullptr);
    seal(t, staging);
    ready[t].store(1, std::memory_order_release);
    ready[t].notify_one();
  }
  /// Gives the stream all copies.
  void stage_on(CUstream_st* stream, std::byte* staging) {
    for (std::size_t t = 0; t < transfers.size(); ++t) {
      copy(t, staging, stream);
      if (t % transfers_a_moment == transfers_a_moment - 1 || t + 1 == transfers.size())
        copied.emplace_back(CudaEvent::Kind::sleeping).record(stream);
    }
  }
  /// For the I/O thread: returns when chunk t is whole.
  void expect(std::size_t t, std::byte* staging) {
    if (copied.empty()) return ready[t].wait(0, std::memory_order_acquire);
    copied[t / transfers_a_moment].wait();
    seal(t, staging);
  }
};

void write_shard(Save& save, std::filesystem::path const& path, std::int64_t step, int writer, std::byte* staging) {
  auto file = hdf5::File::create(path);
  OpenFile disk(path, OpenFile::Mode::write);
  disk.reserve(save.file_bytes());  // a full disk is found now
  file.write_attribute("/", "format", CheckpointHeader::current_format);
  file.write_attribute("/", "step", step);
  file.write_attribute("/", "writer", std::int64_t{writer});
  std::int64_t given = 0, written = 0;
  std::size_t t = 0;
  for (std::size_t p = 0; p < save.pieces.size(); ++p) {
    CheckpointPiece const& piece = save.pieces[p];
    ChunkGrid const& grid = save.grids[p];
    if (!file.exists("/" + piece.kind)) file.create_group("/" + piece.kind);
    auto dataset = file.create_dataset(save.datasets[p], piece.data.dtype(), piece.box.count, grid.chunk);
    for (std::int64_t i = 0; i < grid.total; ++i, ++t) {
      save.expect(t, staging);
      validate(!save.not_finite, "not finite");
      dataset.write_chunk(grid.offset(i), {staging + save.transfers[t].offset, static_cast<std::size_t>(grid.bytes)});
      written += grid.bytes;
      if (written - given < writeback_step) continue;
      disk.start_writeback(given, written - given);
      given = written;
    }
    file.write_integers(save.datasets[p] + checksum_suffix,
                        std::span(save.checksums)
                            .subspan(t - static_cast<std::size_t>(grid.total), static_cast<std::size_t>(grid.total)));
  }
  file.close();
  disk.truncate(disk.size());  // gives back what was reserved and not used
  disk.sync();
}

/// On failure leaves no half shard behind, and says what was to be written where.
void write_or_remove(Save& save, std::filesystem::path const& path, std::int64_t step, int writer, std::byte* staging) {
  try {
    make_folder(path.parent_path());
    write_shard(save, path, step, writer, staging);
  } catch (std::exception const& reason) {
    std::int64_t const free = free_bytes(path.parent_path());
    std::string const room = free < 0 ? "" : concat(", ", format_bytes(static_cast<double>(free)), " are free");
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    std::filesystem::remove(path.parent_path(), ignored);  // goes if empty
    if (CheckpointPiece const* const piece = save.not_finite)
      throw Error(concat("The checkpoint of step ", step, " is not saved (", piece->kind, " of ", piece->name,
                         " is not finite: the training diverged, or a rank computes wrongly). Lower train.lr or "
                         "train.clip, lengthen train.warmup, or skip the data; older checkpoints are untouched."));
    throw Error(concat("The checkpoint shard ", path.string(), " cannot be written (it needs ",
                       format_bytes(static_cast<double>(save.file_bytes())), room, ": ", reason_of(reason),
                       "). Free space there or set checkpoint.folder; older checkpoints are untouched."));
  }
}

}  // namespace

std::int64_t staging_bytes(std::span<CheckpointPiece const> pieces) {
  std::int64_t bytes = 0;
  for (CheckpointPiece const& piece : pieces) {
    if (piece.box.count.count() == 0) continue;
    ChunkGrid const grid(piece.box.count, piece.data.dtype());
    bytes += grid.total * align_up(grid.bytes, 64);
  }
  return bytes;
}

CheckpointWriter::CheckpointWriter(IoThread& io, std::int64_t staging_bytes, Memory::Kind kind) : io_(io) {
  if (staging_bytes > 0) staging_ = Memory(staging_bytes, kind);
}

CheckpointWriter::~CheckpointWriter() {
  if (end_.valid()) end_.wait();
}

void CheckpointWriter::start(std::filesystem::path const& folder, std::int64_t step,
                             std::vector<CheckpointPiece> const& pieces, int writer, CUstream_st* stream) {
  validate(!active(), "A checkpoint save was started before the last one had ended.");
  auto save = std::make_shared<Save>(pieces);
  validate(save->bytes <= staging_.bytes(), "The pieces of a checkpoint take ", save->bytes, " bytes (",
           staging_.bytes(), " were planned).");
  if (save->pieces.empty()) return;
  if (stream) save->stage_on(stream, staging_.base());
  end_ = io_.post([save, path = folder / shard_name(writer), step, writer, staging = staging_.base()] {
    write_or_remove(*save, path, step, writer, staging);
  });
  if (stream) return;
  // The I/O thread writes the first chunks while the others are copied.
  parallel_for(static_cast<std::int64_t>(save->transfers.size()), 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) save->stage(static_cast<std::size_t>(t), staging_.base());
  });
}

bool CheckpointWriter::done() {
  if (!end_.valid()) return true;
  if (end_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
  end_.get();
  return true;
}

void CheckpointWriter::wait() {
  if (end_.valid()) end_.get();
}

}  // namespace selenite
