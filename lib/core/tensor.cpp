#include "core/tensor.hpp"

namespace selenite {

std::string to_string(Shape const& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Tensor Tensor::columns(std::int64_t begin, std::int64_t count) const {
  EXPECTS(begin >= 0 && begin + count <= cols());
  Tensor view = *this;
  view.shape_[-1] = count;
  if (data_) view.data_ += begin * size_of(dtype_);
  return view;
}

Tensor Tensor::row_range(std::int64_t begin, std::int64_t count) const {
  EXPECTS(begin >= 0 && begin + count <= rows());
  Tensor view = *this;
  view.shape_ = {count, cols()};
  if (data_) view.data_ += begin * row_stride_ * size_of(dtype_);
  return view;
}

Tensor Tensor::reshaped(Shape shape) const {
  EXPECTS(contiguous() && shape.count() == count());
  return Tensor(data_, dtype_, shape, device_);
}

}  // namespace selenite
