#include "core/element.hpp"
#include "kernels/embedding/embedding.hpp"

namespace selenite {

void reference(Embedding const& op) {
  for (std::int64_t t = 0; t < op.y.rows(); ++t) {
    auto const row = static_cast<std::int64_t>(load(op.ids, t)) - op.first_row;
    bool const here = row >= 0 && row < op.table.rows();
    for (std::int64_t i = 0; i < op.y.cols(); ++i) {
      double value = here ? load(op.table, row, i) : 0;
      if (op.position_table.defined())
        value += load(op.position_table, static_cast<std::int64_t>(load(op.positions, t)), i);
      store(op.y, t, i, value);
    }
  }
}

void reference(EmbeddingBackward const& op) {
  for (std::int64_t t = 0; t < op.dy.rows(); ++t) {
    auto const row = static_cast<std::int64_t>(load(op.ids, t)) - op.first_row;
    bool const here = op.dtable.defined() && row >= 0 && row < op.dtable.rows();
    for (std::int64_t i = 0; i < op.dy.cols(); ++i) {
      double const dy = load(op.dy, t, i);
      if (here) store(op.dtable, row, i, load(op.dtable, row, i) + dy);
      if (op.dposition_table.defined()) {
        auto const position = static_cast<std::int64_t>(load(op.positions, t));
        store(op.dposition_table, position, i, load(op.dposition_table, position, i) + dy);
      }
    }
  }
}

}  // namespace selenite
