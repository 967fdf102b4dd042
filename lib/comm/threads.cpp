// The threads backend: all ranks in one process. They read each other's memory between barriers, so that nothing is
// staged, and add in the order of the MPI backend.
#include <algorithm>
#include <array>
#include <thread>

#include "comm/combine.hpp"
#include "comm/comm.hpp"
#include "comm/mover.hpp"
#include "comm/thread_job.hpp"
#include "core/parallel_for.hpp"

namespace selenite {
namespace {

constexpr std::int64_t copy_grain = 1 << 20;

class ThreadComm final : public Comm {
 public:
  ThreadComm(ThreadJob& job, Rank rank) : job_(job), rank_(rank) {}
  Rank rank() const override { return rank_; }
  std::int64_t world() const override { return job_.world(); }
  void do_use(Cuda& cuda) override {
    open_peers(cuda.device.ordinal, static_cast<int>(std::min<std::int64_t>(world(), cuda_devices())));
    mover_ = make_cuda_mover(cuda);
  }

  void set_grid(ProcessGrid const& grid) override {
    validate(grid.world() == world(), "The layout has ", grid.world(), " ranks but the job has ", world(), ". Start ",
             grid.world(), " ranks or change the layout.");
    job_.control().sync();  // the groups of an earlier grid are not in use any more
    if (*rank_ == 0) job_.clear_groups();
    job_.control().sync();
    grid_ = grid;
    groups_.fill(nullptr);
  }

  void do_launch(AllReduce const& op) override {
    DType const dtype = op.data.dtype();
    std::int64_t const size = size_of(dtype), count = op.data.count();
    together(op.group, "all-reduce", op.data.raw(), op.data.bytes(), [&](Meeting& m, std::int64_t index) {
      std::int64_t const n = m.members(), block = block_elements(size, n);
      std::atomic<std::int64_t> moved{0};
      // Nobody else reads or writes this rank's pieces of its own data, until all have reduced theirs.
      mover_->each(count, block, [&](std::int64_t first, std::int64_t last) {
        Share const own = share_of(last - first, n, index);
        std::vector<std::byte const*> parts;
        for (std::int64_t r = 0; r < n; ++r) parts.push_back(m.data(r) + (first + own.first) * size);
        mover_->combine(dtype, parts, op.data.raw() + (first + own.first) * size, own.count(), op.reduction);
        moved += own.count() * size * (n - 1);
      });
      mover_->settle();
      m.sync();
      mover_->each(count, block, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t r = 0; r < n; ++r) {
          if (r == index) continue;
          Share const piece = share_of(last - first, n, r);
          std::int64_t const at = (first + piece.first) * size, bytes = piece.count() * size;
          mover_->copy(m.data(r) + at, op.data.raw() + at, bytes);
          moved += bytes;
        }
      });
      return moved.load();
    });
  }

  void do_launch(ReduceScatter const& op) override {
    DType const dtype = op.input.dtype();
    std::int64_t const size = size_of(dtype), mine = op.output.count();
    together(op.group, "reduce-scatter", op.input.raw(), op.input.bytes(), [&](Meeting& m, std::int64_t index) {
      mover_->each(mine, piece_bytes / size, [&](std::int64_t first, std::int64_t last) {
        std::vector<std::byte const*> parts;
        for (std::int64_t r = 0; r < m.members(); ++r) parts.push_back(m.data(r) + (index * mine + first) * size);
        mover_->combine(dtype, parts, op.output.raw() + first * size, last - first, Reduction::sum);
      });
      return mine * size * (m.members() - 1);
    });
  }

  void do_launch(AllGather const& op) override {
    std::int64_t const bytes = op.input.bytes();
    together(op.group, "all-gather", op.input.raw(), bytes, [&](Meeting& m, std::int64_t) {
      for (std::int64_t r = 0; r < m.members(); ++r) copy(m.data(r), op.output.raw() + r * bytes, bytes);
      return bytes * (m.members() - 1);
    });
  }

  void do_launch(Broadcast const& op) override {
    together(op.group, "broadcast", op.data.raw(), op.data.bytes(), [&](Meeting& m, std::int64_t index) {
      copy(m.data(op.root), op.data.raw(), op.data.bytes());
      return index == op.root ? op.data.bytes() : 0;
    });
  }

  void do_launch(RingShift const& op) override {
    together(op.group, "ring shift", op.send.raw(), op.send.bytes(), [&](Meeting& m, std::int64_t index) {
      copy(m.data((index + m.members() - 1) % m.members()), op.recv.raw(), op.recv.bytes());
      return op.send.bytes();
    });
  }

  void do_launch(Send const& op) override {
    job_.box(op.to).put(rank_, op.channel, op.tag, op.data, *mover_);
    sent_[op.channel] += op.data.bytes();
  }
  void do_launch(Recv const& op) override { job_.box(rank_).take(op.from, op.channel, op.tag, op.data, *mover_); }
  void do_finish(Channel, Tensor const&) override {}  // what is sent is copied at once
  void give_up() override { job_.fail(rank_, nullptr); }

  void do_all_reduce(std::span<double> values, Reduction reduction) override {
    std::vector<double> result(values.size());
    visit(job_.control(), [&](Meeting& m) {
      m.show(*rank_, {"control all-reduce", values.data(), static_cast<std::int64_t>(values.size_bytes())});
      std::vector<std::byte const*> parts;
      for (std::int64_t r = 0; r < world(); ++r) parts.push_back(m.data(r));
      combine(DType::fp64, parts, reinterpret_cast<std::byte*>(result.data()), static_cast<std::int64_t>(result.size()),
              reduction);
      m.sync();
    });
    std::copy(result.begin(), result.end(), values.begin());
  }
  void do_broadcast(std::vector<std::byte>& bytes, Rank root) override {
    visit(job_.control(), [&](Meeting& m) {
      m.show(*rank_, {"control broadcast", &bytes, 0});
      if (rank_ != root) bytes = *static_cast<std::vector<std::byte> const*>(m.post(*root).data);
      m.sync();
    });
  }
  std::vector<std::string> do_all_gather(std::string const& text) override {
    std::vector<std::string> texts;
    visit(job_.control(), [&](Meeting& m) {
      m.show(*rank_, {"control all-gather", &text, 0});
      for (std::int64_t r = 0; r < world(); ++r) texts.push_back(*static_cast<std::string const*>(m.post(r).data));
      m.sync();
    });
    return texts;
  }
  void do_barrier() override { job_.control().sync(); }
  [[noreturn]] void abort(int code) override { job_.abort(rank_, code); }
  void post_note(Rank to, std::string const& note) override { job_.post_note(to, note); }
  std::optional<std::string> take_note() override { return job_.take_note(rank_); }

 private:
  /// A collective: body(meeting, index) runs between two barriers, may read what the members show, and returns the
  /// bytes that went between ranks on this one's account.
  template <class Body>
  void together(AxisSet axes, char const* what, std::byte const* data, std::int64_t bytes, Body body) {
    Meeting*& group = groups_[axes.bits()];
    if (!group) group = &job_.group(axes.bits(), grid_.group(rank_, axes).front(), grid_.size(axes));
    visit(*group, [&](Meeting& m) {
      std::int64_t const index = grid_.index_in_group(rank_, axes);
      mover_->settle();
      m.show(index, {what, data, bytes});
      sent_[axes] += body(m, index);
      mover_->settle();
      m.sync();
    });
  }
  void copy(std::byte const* from, std::byte* to, std::int64_t bytes) {
    if (from == to) return;
    mover_->each(bytes, copy_grain,
                 [&](std::int64_t first, std::int64_t last) { mover_->copy(from + first, to + first, last - first); });
  }
  /// No member unwinds, which may free its memory, before the others have stopped reading.
  template <class Body>
  void visit(Meeting& meeting, Body body) {
    meeting.enter();
    try {
      body(meeting);
    } catch (...) {
      job_.fail(rank_, std::current_exception());
      meeting.leave();
      meeting.wait_until_empty();
      throw;
    }
    meeting.leave();
  }

  ThreadJob& job_;
  Rank rank_;
  std::unique_ptr<Mover> mover_ = make_host_mover();
  ProcessGrid grid_;
  std::array<Meeting*, 1u << axis_count> groups_{};  ///< of this rank, by AxisSet::bits(); made when first used
};

}  // namespace

void run_threads(std::int64_t world, std::function<void(Comm&)> const& body) {
  validate(world >= 1, "A job can't have ", world, " ranks. Use 1 or more.");
  ThreadJob job(world);
  int const share = std::max<int>(1, threads() / static_cast<int>(world));
  std::vector<std::jthread> ranks;
  auto const run = [&](Rank rank) {
    try {
      set_threads(share);
      ThreadComm comm(job, rank);
      body(comm);
    } catch (...) {
      job.fail(rank, std::current_exception());
    }
    job.left();
  };
  try {
    for (std::int64_t r = 0; r < world; ++r) ranks.emplace_back(run, Rank(r));
  } catch (std::exception const& e) {
    job.fail(Rank(static_cast<std::int64_t>(ranks.size())),
             std::make_exception_ptr(Error(concat("Its thread can't be started (", e.what(),
                                                  "). Use fewer ranks, or raise the limit on processes."))));
  }
  job.wait_until_left(static_cast<std::int64_t>(ranks.size()));
  ranks.clear();  // joins
  job.rethrow();
}

}  // namespace selenite
