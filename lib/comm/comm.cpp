#include "comm/comm.hpp"

#include <cstdlib>

#include "core/error.hpp"
#include "core/file_lock.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {

class SelfComm final : public Comm {
 public:
  void do_use(Cuda&) override {}
  Rank rank() const override { return Rank(0); }
  std::int64_t world() const override { return 1; }
  void set_grid(ProcessGrid const& grid) override {
    validate(grid.world() == 1, "The layout has ", grid.world(),
             " ranks but this job is one process. Start it with mpirun or srun.");
  }
  void do_launch(AllReduce const&) override {}
  void do_launch(AllGather const& op) override { copy(op.input, op.output); }
  void do_launch(ReduceScatter const& op) override { copy(op.input, op.output); }
  void do_launch(Broadcast const&) override {}
  void do_launch(RingShift const& op) override { copy(op.send, op.recv); }
  void do_launch(Send const&) override { no_peer(); }
  void do_launch(Recv const&) override { no_peer(); }
  void do_finish(Channel, Tensor const&) override {}
  void give_up() override {}
  void do_all_reduce(std::span<double>, Reduction) override {}
  void do_broadcast(std::vector<std::byte>&, Rank) override {}
  std::vector<std::string> do_all_gather(std::string const& text) override { return {text}; }
  void do_barrier() override {}
  [[noreturn]] void abort(int code) override { std::_Exit(code); }
  void post_note(Rank, std::string const&) override {}
  std::optional<std::string> take_note() override { return std::nullopt; }

 private:
  [[noreturn]] static void no_peer() {
    throw Error(
        "One rank alone can't send or receive (there is no other rank). This is a defect of Selenite; please report "
        "it.");
  }
  static void copy(Tensor const& from, Tensor const& to) {
    if (from.raw() != to.raw()) std::copy_n(from.raw(), from.bytes(), to.raw());
  }
};

}  // namespace

void Comm::do_use(Cuda&) {
  throw Error(
      "Ranks on CUDA devices can't communicate this way (run.comm = \"mpi\" moves host memory only). Use run.comm = "
      "\"nccl\", or \"threads\" for ranks that share one device.");
}

std::unique_ptr<Comm> make_self_comm() { return std::make_unique<SelfComm>(); }

bool started_by_mpi(char const* (*environment)(char const*)) {
  for (char const* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"})
    if (environment(name)) return true;
  return false;
}

std::int64_t launched_ranks(char const* (*environment)(char const*)) {
  for (char const* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
    if (char const* const value = environment(name)) return std::strtoll(value, nullptr, 10);
  return 0;
}

namespace {

/// `"[layout] tensor = 2" where rank 0 has "[layout] tensor = 4"`; empty if the texts are the same.
std::string first_difference(std::string const& mine, std::string const& first) {
  if (mine == first) return "";
  auto const a = split(mine, '\n'), b = split(first, '\n');
  auto const line = [](std::vector<std::string> const& lines, std::size_t i) {
    if (i >= lines.size()) return std::string("nothing");
    std::string heading;
    for (std::size_t h = 0; h < i; ++h)
      if (lines[h].starts_with('[')) heading = lines[h] + " ";
    return concat('"', heading, lines[i], '"');
  };
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  return concat(line(a, i), " where rank 0 has ", line(b, i));
}

}  // namespace

std::vector<std::string> all_gather_on_machine(Comm& comm, std::string const& text) {
  std::string const mine = host_name() + "\n";
  std::vector<std::string> texts;
  for (std::string const& said : comm.all_gather(mine + text))
    if (said.starts_with(mine)) texts.push_back(said.substr(mine.size()));
  return texts;
}

void require_same(Comm& comm, std::string const& what, std::string const& text) {
  auto const* const bytes = reinterpret_cast<std::byte const*>(text.data());
  std::vector<std::byte> first(bytes, bytes + text.size());
  comm.broadcast(first, Rank(0));
  auto const differences =
      comm.all_gather(first_difference(text, {reinterpret_cast<char const*>(first.data()), first.size()}));
  for (std::size_t r = 0; r < differences.size(); ++r)
    validate(differences[r].empty(), "Rank ", r, " has another ", what, " than rank 0 (", differences[r],
             "; all ranks must run the same). Start all ranks with the same program, file and options.");
}

}  // namespace selenite
