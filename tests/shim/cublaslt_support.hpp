#pragma once
#include <string>
#include <vector>

#include "core/cuda.hpp"
#include "core/error.hpp"
#include "kernels/gemm/gemm.hpp"
#include "tests/shim/cublaslt.hpp"

/// What tests of products by the stand-in for cuBLASLt begin with.
namespace selenite::test {

/// Zeros, aligned as device memory is.
class Memory {
 public:
  Tensor operator()(DType type, Shape shape, std::int64_t offset_bytes = 0) {
    Tensor x(nullptr, type, shape);
    blocks_.emplace_back(static_cast<std::size_t>(x.bytes() + offset_bytes) / sizeof(Block) + 1);
    return {reinterpret_cast<std::byte*>(blocks_.back().data()) + offset_bytes, type, shape};
  }
  std::span<std::byte> workspace(std::size_t bytes) {
    return {operator()(DType::uint8, {static_cast<std::int64_t>(bytes)}).raw(), bytes};
  }

 private:
  struct alignas(256) Block {
    std::byte bytes[256];
  };
  std::vector<std::vector<Block>> blocks_;
};

struct CublasLtFixture {
  CublasLtFixture() { shim::lt_record() = {}; }
  std::size_t choices() const { return shim::lt_record().choices.size(); }
  shim::LtProduct const& last() const { return shim::lt_record().products.back(); }
  Memory memory;
};

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (Error const& error) {
    return error.what();
  }
  return "";
}

}  // namespace selenite::test
