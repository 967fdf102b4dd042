#include "comm/mover.hpp"

#include <algorithm>

#include "core/parallel_for.hpp"

namespace selenite {
namespace {

class HostMover final : public Mover {
 public:
  void each(std::int64_t count, std::int64_t grain,
            std::function<void(std::int64_t, std::int64_t)> const& body) override {
    parallel_for(count, grain, body);
  }
  void copy(std::byte const* from, std::byte* to, std::int64_t bytes) override { std::copy_n(from, bytes, to); }
  void combine(DType dtype, std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
               Reduction reduction) override {
    selenite::combine(dtype, parts, out, count, reduction);
  }
  void to_host(std::byte const* from, std::byte* to, std::int64_t bytes) override { copy(from, to, bytes); }
  void from_host(std::byte const* from, std::byte* to, std::int64_t bytes) override { copy(from, to, bytes); }
  void settle() override {}
};

}  // namespace

std::unique_ptr<Mover> make_host_mover() { return std::make_unique<HostMover>(); }

}  // namespace selenite
