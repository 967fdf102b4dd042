// The MPI backend: pieces exchanged and added in rank order in fp32, so that sums are reproducible and of any size.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <list>
#include <map>
#include <mpi.h>
#include <sched.h>
#include <thread>

#include "comm/combine.hpp"
#include "comm/comm.hpp"

namespace selenite {
namespace {

void check(int code, char const* expression, int line) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw Error(concat("MPI failed: ", std::string_view(text, static_cast<std::size_t>(length)), " (", expression,
                     ", mpi.cpp:", line, "). Look at the job's log for a node or network fault."));
}
#define MPI_CHECK(call) check((call), #call, __LINE__)

using Requests = std::vector<MPI_Request>;

/// Set when the rank is leaving by an error: waits of its threads throw.
std::atomic<bool> given_up{false};

/// Waits for all of them, and empties the list. Polls, soon gives the core away between polls, and sleeps in a long
/// wait: MPI's own wait spins, which costs time slices where ranks exceed cores.
void wait_all(Requests& requests, MPI_Status* statuses = MPI_STATUSES_IGNORE) {
  constexpr int eager_polls = 200, awake_polls = 4000;
  int done = 0;
  for (int polls = 0;; ++polls) {
    MPI_CHECK(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, statuses));
    if (done) break;
    if (given_up.load(std::memory_order_acquire)) throw Stopped();
    if (polls >= awake_polls)
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    else if (polls >= eager_polls)
      sched_yield();
  }
  requests.clear();
}

constexpr std::int64_t message_limit = 1 << 30;  // counts are ints

/// Starts a message of any size: in pieces, which arrive in the order sent.
void post_send(Requests& requests, std::byte const* data, std::int64_t bytes, std::int64_t to, std::int64_t tag,
               MPI_Comm comm) {
  for (std::int64_t first = 0; first == 0 || first < bytes; first += message_limit)
    MPI_CHECK(MPI_Isend(data + first, static_cast<int>(std::min(message_limit, bytes - first)), MPI_BYTE,
                        static_cast<int>(to), static_cast<int>(tag), comm, &requests.emplace_back()));
}
void post_receive(Requests& requests, std::byte* data, std::int64_t bytes, std::int64_t from, std::int64_t tag,
                  MPI_Comm comm) {
  for (std::int64_t first = 0; first == 0 || first < bytes; first += message_limit)
    MPI_CHECK(MPI_Irecv(data + first, static_cast<int>(std::min(message_limit, bytes - first)), MPI_BYTE,
                        static_cast<int>(from), static_cast<int>(tag), comm, &requests.emplace_back()));
}

class MpiComm final : public Comm {
 public:
  MpiComm() {
    int provided = 0;
    MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided));
    if (provided < MPI_THREAD_MULTIPLE) {
      MPI_Finalize();
      throw Error(
          "This MPI can't be called from several threads (MPI_THREAD_MULTIPLE is not provided). Use an MPI built with "
          "thread support.");
    }
    MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    int r = 0, n = 0;
    MPI_CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &r));
    MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &n));
    rank_ = Rank(r), world_ = n;
    MPI_CHECK(MPI_Comm_dup(MPI_COMM_WORLD, &control_));
    MPI_CHECK(MPI_Comm_dup(MPI_COMM_WORLD, &notes_));
    for (MPI_Comm& channel : channels_) MPI_CHECK(MPI_Comm_dup(MPI_COMM_WORLD, &channel));
    void* bound = nullptr;
    int known = 0;
    MPI_CHECK(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &known));
    largest_tag_ = known ? *static_cast<int*>(bound) : 32767;
  }
  ~MpiComm() override {
    free_groups();
    for (MPI_Comm& channel : channels_) MPI_Comm_free(&channel);
    for (NoteOut& out : notes_out_)
      if (out.request != MPI_REQUEST_NULL) MPI_Request_free(&out.request);
    MPI_Comm_free(&notes_);
    MPI_Comm_free(&control_);
    MPI_Finalize();
  }

  void do_use(Cuda& cuda) override {
    if (world_ > 1) Comm::do_use(cuda);  // one rank has nobody to move anything to
  }
  Rank rank() const override { return rank_; }
  std::int64_t world() const override { return world_; }

  void set_grid(ProcessGrid const& grid) override {
    validate(grid.world() == world_, "The layout has ", grid.world(), " ranks but the job has ", world_, ". Start ",
             grid.world(), " ranks or change the layout.");
    free_groups();
    grid_ = grid;
    for (unsigned bits = 1; bits < 1u << axis_count; ++bits) {  // the same order on every rank
      AxisSet const axes = significant(bits);
      if (axes.bits() != bits) continue;
      int const color = static_cast<int>(*grid.group(rank_, axes).front());
      Group& group = groups_[bits];
      group.index = grid.index_in_group(rank_, axes), group.size = grid.size(axes);
      MPI_CHECK(MPI_Comm_split(MPI_COMM_WORLD, color, static_cast<int>(group.index), &group.comm));
    }
  }

  void do_launch(AllReduce const& op) override {
    DType const dtype = op.data.dtype();
    std::int64_t const size = size_of(dtype);
    Group& g = group(op.group);
    for_blocks(op.data.count(), size, g.size, [&](std::int64_t first, std::int64_t count) {
      std::byte* const block = op.data.raw() + first * size;
      auto place = [&](std::int64_t r) {
        Share const piece = share_of(count, g.size, r);
        return std::span(block + piece.first * size, static_cast<std::size_t>(piece.count() * size));
      };
      exchange_and_combine(g, op.group, dtype, place, place(g.index).data(), op.reduction);
      gather(g, op.group, place);
    });
  }

  void do_launch(ReduceScatter const& op) override {
    DType const dtype = op.input.dtype();
    std::int64_t const size = size_of(dtype), mine = op.output.count(), step = piece_bytes / size;
    Group& g = group(op.group);
    for (std::int64_t first = 0; first < mine; first += step) {
      std::int64_t const count = std::min(step, mine - first);
      auto place = [&](std::int64_t r) {
        return std::span(op.input.raw() + (r * mine + first) * size, static_cast<std::size_t>(count * size));
      };
      exchange_and_combine(g, op.group, dtype, place, op.output.raw() + first * size, Reduction::sum);
    }
  }

  void do_launch(AllGather const& op) override {
    Group& g = group(op.group);
    std::int64_t const bytes = op.input.bytes();
    std::byte* const own = op.output.raw() + g.index * bytes;
    if (own != op.input.raw()) std::memcpy(own, op.input.raw(), static_cast<std::size_t>(bytes));
    gather(g, op.group,
           [&](std::int64_t r) { return std::span(op.output.raw() + r * bytes, static_cast<std::size_t>(bytes)); });
  }

  void do_launch(Broadcast const& op) override {
    Group& g = group(op.group);
    broadcast_bytes(g.comm, op.data.raw(), op.data.bytes(), static_cast<int>(op.root));
    if (g.index == op.root) sent_[op.group] += op.data.bytes();
  }

  void do_launch(RingShift const& op) override {
    Group& g = group(op.group);
    post_receive(g.requests, op.recv.raw(), op.recv.bytes(), (g.index + g.size - 1) % g.size, 0, g.comm);
    post_send(g.requests, op.send.raw(), op.send.bytes(), (g.index + 1) % g.size, 0, g.comm);
    sent_[op.group] += op.send.bytes();
    wait_all(g.requests);
  }

  void do_launch(Send const& op) override {
    auto const channel = static_cast<std::size_t>(op.channel);
    Sent& sent = sends_[channel].emplace_back(Sent{op.data.raw(), {}});
    post_send(sent.requests, op.data.raw(), op.data.bytes(), *op.to, checked(op.tag), channels_[channel]);
    sent_[op.channel] += op.data.bytes();
  }
  void do_launch(Recv const& op) override {
    Requests requests;
    post_receive(requests, op.data.raw(), op.data.bytes(), *op.from, checked(op.tag),
                 channels_[static_cast<std::size_t>(op.channel)]);
    std::vector<MPI_Status> statuses(requests.size());
    wait_all(requests, statuses.data());
    std::int64_t received = 0;
    for (MPI_Status const& status : statuses) {
      int bytes = 0;
      MPI_CHECK(MPI_Get_count(&status, MPI_BYTE, &bytes));
      received += bytes;
    }
    validate(received == op.data.bytes(), "A message of ", received, " bytes from rank ", op.from, " came where ",
             op.data.bytes(), " were expected (tag ", op.tag, "). This is a defect of Selenite; please report it.");
  }
  void do_finish(Channel channel, Tensor const& data) override {
    auto& sends = sends_[static_cast<std::size_t>(channel)];
    for (Sent& sent : sends)
      if (!data.defined() || sent.data == data.raw()) wait_all(sent.requests);
    std::erase_if(sends, [](Sent const& sent) { return sent.requests.empty(); });
  }
  void give_up() override { given_up = true; }

  void do_all_reduce(std::span<double> values, Reduction reduction) override {
    std::size_t const count = values.size();
    std::vector<double> all(count * static_cast<std::size_t>(world_));
    MPI_CHECK(MPI_Allgather(values.data(), static_cast<int>(count), MPI_DOUBLE, all.data(), static_cast<int>(count),
                            MPI_DOUBLE, control_));
    std::vector<std::byte const*> parts;
    for (std::size_t r = 0; r < static_cast<std::size_t>(world_); ++r)
      parts.push_back(reinterpret_cast<std::byte const*>(all.data() + r * count));
    combine(DType::fp64, parts, reinterpret_cast<std::byte*>(values.data()), static_cast<std::int64_t>(count),
            reduction);
  }
  void do_broadcast(std::vector<std::byte>& bytes, Rank root) override {
    auto size = static_cast<std::int64_t>(bytes.size());
    MPI_CHECK(MPI_Bcast(&size, 1, MPI_INT64_T, static_cast<int>(*root), control_));
    bytes.resize(static_cast<std::size_t>(size));
    broadcast_bytes(control_, bytes.data(), size, static_cast<int>(*root));
  }
  std::vector<std::string> do_all_gather(std::string const& text) override {
    auto const mine = static_cast<int>(text.size());
    std::vector<int> sizes(static_cast<std::size_t>(world_)), starts(sizes.size());
    MPI_CHECK(MPI_Allgather(&mine, 1, MPI_INT, sizes.data(), 1, MPI_INT, control_));
    int total = 0;
    for (std::size_t r = 0; r < sizes.size(); ++r) starts[r] = total, total += sizes[r];
    std::string all(static_cast<std::size_t>(total), '\0');
    MPI_CHECK(MPI_Allgatherv(text.data(), mine, MPI_CHAR, all.data(), sizes.data(), starts.data(), MPI_CHAR, control_));
    std::vector<std::string> texts;
    for (std::size_t r = 0; r < sizes.size(); ++r)
      texts.push_back(all.substr(static_cast<std::size_t>(starts[r]), static_cast<std::size_t>(sizes[r])));
    return texts;
  }
  void do_barrier() override { MPI_CHECK(MPI_Barrier(control_)); }
  [[noreturn]] void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
  }

  void post_note(Rank to, std::string const& note) override {
    constexpr std::size_t most_pending = 256;  // to a rank that does not take them
    notes_out_.remove_if([](NoteOut& out) {
      int done = 0;
      MPI_CHECK(MPI_Test(&out.request, &done, MPI_STATUS_IGNORE));
      return done != 0;
    });
    if (notes_out_.size() >= most_pending) return;
    NoteOut& out = notes_out_.emplace_back(NoteOut{note, MPI_REQUEST_NULL});
    MPI_CHECK(MPI_Isend(out.text.data(), static_cast<int>(out.text.size()), MPI_BYTE, static_cast<int>(*to), 0, notes_,
                        &out.request));
  }
  std::optional<std::string> take_note() override {
    int found = 0, bytes = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    MPI_CHECK(MPI_Improbe(MPI_ANY_SOURCE, 0, notes_, &found, &message, &status));
    if (!found) return std::nullopt;
    MPI_CHECK(MPI_Get_count(&status, MPI_BYTE, &bytes));
    std::string note(static_cast<std::size_t>(bytes), '\0');
    MPI_CHECK(MPI_Mrecv(note.data(), bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE));  // small: it is here
    return note;
  }

 private:
  /// One thread at a time uses a group; several threads may use several.
  struct Group {
    MPI_Comm comm = MPI_COMM_NULL;
    std::int64_t index = 0, size = 0;
    std::vector<std::byte> staging;
    Requests requests;
  };

  void free_groups() {
    for (auto& [bits, group] : groups_) MPI_Comm_free(&group.comm);
    groups_.clear();
  }
  AxisSet significant(unsigned bits) const {  // without axes of one rank
    AxisSet axes;
    for (Axis a : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
      if (bits >> static_cast<unsigned>(a) & 1u && grid_.size(a) > 1) axes = axes.with(a);
    return axes;
  }
  Group& group(AxisSet axes) {
    auto const found = groups_.find(significant(axes.bits()).bits());
    validate(found != groups_.end(), "There is no group of ranks over ", to_string(axes),
             " (it has one rank). This is a defect of Selenite; please report it.");
    return found->second;
  }
  std::int64_t checked(std::int64_t tag) const {
    validate(tag >= 0 && tag <= largest_tag_, "A message can't have the tag ", tag, " (this MPI has 0 to ",
             largest_tag_, "). Use an MPI with larger tags.");
    return tag;
  }

  /// Every rank gets its piece of all ranks' data, and adds the pieces in rank order into `out`. place(r): rank r's
  /// piece in this rank's data.
  template <class Place>
  void exchange_and_combine(Group& g, AxisSet axes, DType dtype, Place place, std::byte* out, Reduction reduction) {
    std::size_t const mine = place(g.index).size();
    g.staging.resize(mine * static_cast<std::size_t>(g.size));
    std::vector<std::byte const*> parts(static_cast<std::size_t>(g.size));
    for (std::int64_t d = 1; d < g.size; ++d) {
      std::int64_t const from = (g.index - d + g.size) % g.size, to = (g.index + d) % g.size;
      std::byte* const staged = g.staging.data() + static_cast<std::size_t>(from) * mine;
      parts[static_cast<std::size_t>(from)] = staged;
      post_receive(g.requests, staged, static_cast<std::int64_t>(mine), from, 0, g.comm);
      send_piece(g, axes, place(to), to);
    }
    parts[static_cast<std::size_t>(g.index)] = place(g.index).data();
    wait_all(g.requests);
    combine(dtype, parts, out, static_cast<std::int64_t>(mine) / size_of(dtype), reduction);
  }

  /// Every rank sends its place to all others.
  template <class Place>
  void gather(Group& g, AxisSet axes, Place place) {
    for (std::int64_t d = 1; d < g.size; ++d) {
      std::int64_t const from = (g.index - d + g.size) % g.size;
      post_receive(g.requests, place(from).data(), static_cast<std::int64_t>(place(from).size()), from, 0, g.comm);
      send_piece(g, axes, place(g.index), (g.index + d) % g.size);
    }
    wait_all(g.requests);
  }

  void send_piece(Group& g, AxisSet axes, std::span<std::byte const> piece, std::int64_t to) {
    auto const bytes = static_cast<std::int64_t>(piece.size());
    post_send(g.requests, piece.data(), bytes, to, 0, g.comm);
    sent_[axes] += bytes;
  }

  static void broadcast_bytes(MPI_Comm comm, std::byte* data, std::int64_t bytes, int root) {
    for (std::int64_t first = 0; first < bytes; first += message_limit)
      MPI_CHECK(
          MPI_Bcast(data + first, static_cast<int>(std::min(message_limit, bytes - first)), MPI_BYTE, root, comm));
  }

  Rank rank_;
  std::int64_t world_ = 1, largest_tag_ = 0;
  ProcessGrid grid_;
  struct NoteOut {
    std::string text;
    MPI_Request request;
  };
  MPI_Comm control_ = MPI_COMM_NULL, notes_ = MPI_COMM_NULL;
  std::list<NoteOut> notes_out_;
  std::array<MPI_Comm, channel_count> channels_{};
  std::map<unsigned, Group> groups_;
  struct Sent {
    std::byte const* data = nullptr;
    Requests requests;
  };
  std::array<std::vector<Sent>, channel_count> sends_;
};

}  // namespace

std::unique_ptr<Comm> make_mpi_comm() { return std::make_unique<MpiComm>(); }

}  // namespace selenite
