// The MPI backend: pieces exchanged and added in rank order in fp32, so that sums are reproducible and of any size.
#include <algorithm>
#include <cstring>
#include <map>
#include <mpi.h>

#include "comm/comm.hpp"
#include "core/error.hpp"

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

constexpr std::int64_t piece_bytes = 1 << 20;

template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};

/// sum[i] = pieces[0][i] + pieces[1][i] + ... in this order.
template <class T>
void combine(std::vector<std::byte const*> const& pieces, std::byte* out, std::int64_t count, Reduction reduction) {
  using A = typename Accumulate<T>::type;
  auto* result = reinterpret_cast<T*>(out);
  constexpr std::int64_t block = 2048;
  A sums[block];
  for (std::int64_t first = 0; first < count; first += block) {
    std::int64_t const n = std::min(block, count - first);
    auto const* p0 = reinterpret_cast<T const*>(pieces[0]) + first;
    for (std::int64_t i = 0; i < n; ++i) sums[i] = static_cast<A>(p0[i]);
    for (std::size_t r = 1; r < pieces.size(); ++r) {
      auto const* p = reinterpret_cast<T const*>(pieces[r]) + first;
      if (reduction == Reduction::sum)
        for (std::int64_t i = 0; i < n; ++i) sums[i] += static_cast<A>(p[i]);
      else
        for (std::int64_t i = 0; i < n; ++i) sums[i] = std::max(sums[i], static_cast<A>(p[i]));
    }
    for (std::int64_t i = 0; i < n; ++i) result[first + i] = static_cast<T>(sums[i]);
  }
}

void combine(DType dtype, std::vector<std::byte const*> const& pieces, std::byte* out, std::int64_t count,
             Reduction reduction) {
  switch (dtype) {
    case DType::fp32:
      return combine<float>(pieces, out, count, reduction);
    case DType::fp64:
      return combine<double>(pieces, out, count, reduction);
    case DType::bf16:
      return combine<bf16>(pieces, out, count, reduction);
    default:
      throw Error(concat("Tensors of ", name(dtype),
                         " can't be reduced between ranks (only fp32, fp64 and bf16 can). This is a defect of "
                         "Selenite; please report it."));
  }
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
  }
  ~MpiComm() override {
    free_groups();
    MPI_Comm_free(&control_);
    MPI_Finalize();
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
      MPI_CHECK(
          MPI_Comm_split(MPI_COMM_WORLD, color, static_cast<int>(grid.index_in_group(rank_, axes)), &groups_[bits]));
    }
  }

  void launch(AllReduce const& op) override {
    std::int64_t const size = size_of(op.data.dtype());
    auto const [comm, index, n] = group(op.group);
    std::int64_t const piece = piece_bytes / size;
    std::byte* data = op.data.raw();
    for (std::int64_t first = 0, count = op.data.count(); first < count; first += piece * n) {
      std::int64_t const block = std::min(piece * n, count - first);
      std::vector<std::int64_t> const starts = even_starts(block, n);
      reduce_block(comm, index, op.data.dtype(), data + first * size, starts, data + (first + starts[index]) * size,
                   op.reduction);
      gather_block(comm, data + first * size, starts, size);
      bytes_sent_ +=
          (block - (starts[index + 1] - starts[index])) * size + (starts[index + 1] - starts[index]) * size * (n - 1);
    }
  }

  void launch(ReduceScatter const& op) override {
    std::int64_t const size = size_of(op.input.dtype()), mine = op.output.count();
    auto const [comm, index, n] = group(op.group);
    std::int64_t const piece = piece_bytes / size;
    for (std::int64_t first = 0; first < mine; first += piece) {
      std::int64_t const count = std::min(piece, mine - first);
      exchange_and_combine(comm, index, n, op.input.dtype(), count, op.output.raw() + first * size, Reduction::sum,
                           [&](std::int64_t r) {
                             return std::pair{op.input.raw() + (r * mine + first) * size, count};
                           });
      bytes_sent_ += count * size * (n - 1);
    }
  }

  void launch(AllGather const& op) override {
    auto const [comm, index, n] = group(op.group);
    std::int64_t const bytes = op.input.bytes();
    if (op.output.raw() + index * bytes != op.input.raw())
      std::memmove(op.output.raw() + index * bytes, op.input.raw(), static_cast<std::size_t>(bytes));
    std::vector<std::int64_t> starts(static_cast<std::size_t>(n) + 1);
    for (std::int64_t r = 0; r <= n; ++r) starts[static_cast<std::size_t>(r)] = r * bytes;
    gather_block(comm, op.output.raw(), starts, 1);
    bytes_sent_ += bytes * (n - 1);
  }

  void launch(Broadcast const& op) override {
    auto const [comm, index, n] = group(op.group);
    broadcast_bytes(comm, op.data.raw(), op.data.bytes(), static_cast<int>(op.root));
    if (index == op.root) bytes_sent_ += op.data.bytes();
  }

  void all_reduce(std::span<double> values, Reduction reduction) override {
    MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_DOUBLE,
                            reduction == Reduction::sum ? MPI_SUM : MPI_MAX, control_));
  }
  void broadcast(std::vector<std::byte>& bytes, Rank root) override {
    auto size = static_cast<std::int64_t>(bytes.size());
    MPI_CHECK(MPI_Bcast(&size, 1, MPI_INT64_T, static_cast<int>(*root), control_));
    bytes.resize(static_cast<std::size_t>(size));
    broadcast_bytes(control_, bytes.data(), size, static_cast<int>(*root));
  }
  std::vector<std::string> all_gather(std::string const& text) override {
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
  void barrier() override { MPI_CHECK(MPI_Barrier(control_)); }
  [[noreturn]] void abort(int code) override {
    MPI_Abort(MPI_COMM_WORLD, code);
    std::_Exit(code);
  }

 private:
  struct Group {
    MPI_Comm comm;
    std::int64_t index, size;
  };

  void free_groups() {
    for (auto& [bits, comm] : groups_) MPI_Comm_free(&comm);
    groups_.clear();
  }
  AxisSet significant(unsigned bits) const {  // without axes of one rank
    AxisSet axes;
    for (Axis a : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
      if (bits >> static_cast<unsigned>(a) & 1u && grid_.size(a) > 1) axes = axes.with(a);
    return axes;
  }
  Group group(AxisSet axes) const {
    auto const found = groups_.find(significant(axes.bits()).bits());
    validate(found != groups_.end(), "There is no group of ranks over ", to_string(axes),
             " (it has one rank). This is a defect of Selenite; please report it.");
    return {found->second, grid_.index_in_group(rank_, axes), grid_.size(axes)};
  }
  static std::vector<std::int64_t> even_starts(std::int64_t count, std::int64_t n) {
    std::vector<std::int64_t> starts;
    for (std::int64_t r = 0; r <= n; ++r) starts.push_back(count * r / n);
    return starts;
  }

  /// Every rank gets its piece of all ranks' data, pieces added in rank order.
  template <class PieceFor>
  void exchange_and_combine(MPI_Comm comm, std::int64_t index, std::int64_t n, DType dtype, std::int64_t mine,
                            std::byte* out, Reduction reduction, PieceFor piece_for) {
    std::int64_t const size = size_of(dtype);
    staging_.resize(static_cast<std::size_t>(mine * size * n));
    requests_.clear();
    std::vector<std::byte const*> pieces(static_cast<std::size_t>(n));
    for (std::int64_t d = 1; d < n; ++d) {
      std::int64_t const from = (index - d + n) % n, to = (index + d) % n;
      std::byte* place = staging_.data() + from * mine * size;
      pieces[static_cast<std::size_t>(from)] = place;
      MPI_CHECK(MPI_Irecv(place, static_cast<int>(mine * size), MPI_BYTE, static_cast<int>(from), 0, comm,
                          &requests_.emplace_back()));
      auto const [data, count] = piece_for(to);
      MPI_CHECK(MPI_Isend(data, static_cast<int>(count * size), MPI_BYTE, static_cast<int>(to), 0, comm,
                          &requests_.emplace_back()));
    }
    pieces[static_cast<std::size_t>(index)] = piece_for(index).first;
    MPI_CHECK(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE));
    combine(dtype, pieces, out, mine, reduction);
  }

  void reduce_block(MPI_Comm comm, std::int64_t index, DType dtype, std::byte* block,
                    std::vector<std::int64_t> const& starts, std::byte* out, Reduction reduction) {
    std::int64_t const size = size_of(dtype);
    exchange_and_combine(comm, index, static_cast<std::int64_t>(starts.size()) - 1, dtype,
                         starts[static_cast<std::size_t>(index) + 1] - starts[static_cast<std::size_t>(index)], out,
                         reduction, [&](std::int64_t r) {
                           auto const i = static_cast<std::size_t>(r);
                           return std::pair{block + starts[i] * size, starts[i + 1] - starts[i]};
                         });
  }

  void gather_block(MPI_Comm comm, std::byte* block, std::vector<std::int64_t> const& starts, std::int64_t size) {
    std::vector<int> counts, places;
    constexpr std::int64_t limit = 1 << 30;
    validate(starts.back() * size <= limit, "A gathered message of ", starts.back() * size,
             " bytes is larger than this backend sends at once. Lower train.bucket_bytes.");
    for (std::size_t r = 0; r + 1 < starts.size(); ++r) {
      counts.push_back(static_cast<int>((starts[r + 1] - starts[r]) * size));
      places.push_back(static_cast<int>(starts[r] * size));
    }
    MPI_CHECK(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, block, counts.data(), places.data(), MPI_BYTE, comm));
  }

  static void broadcast_bytes(MPI_Comm comm, std::byte* data, std::int64_t bytes, int root) {
    constexpr std::int64_t limit = 1 << 30;
    for (std::int64_t first = 0; first < bytes; first += limit)
      MPI_CHECK(MPI_Bcast(data + first, static_cast<int>(std::min(limit, bytes - first)), MPI_BYTE, root, comm));
  }

  Rank rank_;
  std::int64_t world_ = 1;
  ProcessGrid grid_;
  MPI_Comm control_ = MPI_COMM_NULL;
  std::map<unsigned, MPI_Comm> groups_;
  std::vector<std::byte> staging_;
  std::vector<MPI_Request> requests_;
};

}  // namespace

std::unique_ptr<Comm> make_mpi_comm() { return std::make_unique<MpiComm>(); }

}  // namespace selenite
