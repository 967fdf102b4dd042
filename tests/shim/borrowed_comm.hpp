#pragma once
#include "comm/comm.hpp"

namespace selenite::test {

/// The control calls of a Comm that somebody else owns. It moves no tensors.
class BorrowedComm final : public Comm {
 public:
  explicit BorrowedComm(Comm& comm) : comm_(comm) {}
  Rank rank() const override { return comm_.rank(); }
  std::int64_t world() const override { return comm_.world(); }
  void set_grid(ProcessGrid const& grid) override { comm_.set_grid(grid); }
  void give_up() override { comm_.give_up(); }
  [[noreturn]] void abort(int code) override {
    comm_.abort(code);
    std::terminate();
  }
  void post_note(Rank to, std::string const& note) override { comm_.post_note(to, note); }
  std::optional<std::string> take_note() override { return comm_.take_note(); }

 private:
  [[noreturn]] static void refuse() {
    throw Error("A borrowed Comm was asked to move a tensor (it has the control calls only). Use its owner.");
  }
  void do_launch(AllReduce const&) override { refuse(); }
  void do_launch(AllGather const&) override { refuse(); }
  void do_launch(ReduceScatter const&) override { refuse(); }
  void do_launch(Broadcast const&) override { refuse(); }
  void do_launch(RingShift const&) override { refuse(); }
  void do_launch(Send const&) override { refuse(); }
  void do_launch(Recv const&) override { refuse(); }
  void do_finish(Channel, Tensor const&) override { refuse(); }
  void do_all_reduce(std::span<double> values, Reduction reduction) override { comm_.all_reduce(values, reduction); }
  void do_broadcast(std::vector<std::byte>& bytes, Rank root) override { comm_.broadcast(bytes, root); }
  std::vector<std::string> do_all_gather(std::string const& text) override { return comm_.all_gather(text); }
  void do_barrier() override { comm_.barrier(); }

  Comm& comm_;
};

}  // namespace selenite::test
