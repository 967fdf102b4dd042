#include "core/element.hpp"
#include "kernels/reduction/reduction.hpp"

namespace selenite {

void reference(SquaredNorm const& op) {
  double sum = op.accumulate ? load(op.out, 0) : 0;
  for (std::int64_t i = 0; i < op.x.count(); ++i) sum += load(op.x, i) * load(op.x, i);
  store(op.out, 0, sum);
}

}  // namespace selenite
