// The stand-in for cuDNN refuses what the library refuses.
#include <array>
#include <boost/test/unit_test.hpp>
#include <utility>
#include <vector>

#include "tests/shim/cudnn.hpp"

using Four = std::array<std::int64_t, 4>;

BOOST_AUTO_TEST_CASE(cudnn_stand_in) {
  std::vector<cudnnBackendDescriptor_t> made;
  auto const create = [&](cudnnBackendDescriptorType_t of) {
    cudnnBackendCreateDescriptor(of, &made.emplace_back());
    return made.back();
  };
  auto const set = [](void* d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t as, auto value) {
    return cudnnBackendSetAttribute(d, name, as, 1, &value);
  };
  auto const tensor = [&](std::int64_t number, Four extents, bool is_virtual = false) {
    void* const x = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    Four strides{};
    std::int64_t stride = 1;
    for (std::size_t i = 4; i-- > 0;) strides[i] = stride, stride *= extents[i];
    set(x, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, number);
    set(x, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    set(x, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::int64_t{16});
    if (is_virtual) set(x, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, true);
    cudnnBackendSetAttribute(x, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, extents.data());
    cudnnBackendSetAttribute(x, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
    return x;
  };
  void* const a = tensor(1, {1, 1, 2, 3});
  void* const how = create(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  void* const product = create(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  constexpr auto part = CUDNN_TYPE_BACKEND_DESCRIPTOR;
  BOOST_CHECK(cudnnBackendFinalize(how) == CUDNN_STATUS_BAD_PARAM);  // no compute type
  BOOST_CHECK(set(how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_INT64, std::int64_t{0}) ==
              CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
  BOOST_CHECK(set(how, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, std::int64_t{0}) ==
              CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE);
  BOOST_CHECK(set(how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT) == CUDNN_STATUS_SUCCESS);
  BOOST_CHECK(cudnnBackendFinalize(how) == CUDNN_STATUS_SUCCESS);
  BOOST_CHECK(set(product, CUDNN_ATTR_OPERATION_MATMUL_ADESC, part, a) == CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
  BOOST_CHECK(cudnnBackendFinalize(a) == CUDNN_STATUS_SUCCESS);
  BOOST_CHECK(set(a, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, std::int64_t{2}) == CUDNN_STATUS_BAD_PARAM);
  BOOST_CHECK(set(product, CUDNN_ATTR_OPERATION_MATMUL_ADESC, part, how) == CUDNN_STATUS_BAD_PARAM_DESCRIPTOR_TYPE);
  void* const empty = tensor(9, {1, 1, 0, 3});
  BOOST_CHECK(cudnnBackendFinalize(empty) == CUDNN_STATUS_BAD_PARAM);

  auto const graph_of = [&](std::vector<std::array<void*, 3>> const& products) {
    std::vector<void*> operations;
    for (auto const& [x, y, z] : products) {
      void* const operation = create(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
      for (void* t : {x, y, z}) cudnnBackendFinalize(t);
      set(operation, CUDNN_ATTR_OPERATION_MATMUL_DESC, part, how);
      set(operation, CUDNN_ATTR_OPERATION_MATMUL_ADESC, part, x);
      set(operation, CUDNN_ATTR_OPERATION_MATMUL_BDESC, part, y);
      set(operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC, part, z);
      BOOST_CHECK(cudnnBackendFinalize(operation) == CUDNN_STATUS_SUCCESS);
      operations.push_back(operation);
    }
    void* const graph = create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    cudnnBackendSetAttribute(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, part, std::ssize(operations), operations.data());
    return std::pair(graph, cudnnBackendFinalize(graph));
  };
  auto const refuses = [&](std::vector<std::array<void*, 3>> const& products) {
    return graph_of(products).second != CUDNN_STATUS_SUCCESS;
  };
  void *const b = tensor(2, {1, 1, 3, 4}), *const c = tensor(3, {1, 1, 2, 4});
  BOOST_CHECK(refuses({{a, tensor(4, {1, 1, 5, 4}), c}}));                                   // 3 terms against 5
  BOOST_CHECK(refuses({{a, tensor(5, {1, 1, 3, 4}, true), c}}));                             // nothing makes it
  BOOST_CHECK(refuses({{a, b, c}, {a, b, c}}));                                              // made twice
  BOOST_CHECK(refuses({{a, b, c}, {a, tensor(2, {1, 1, 3, 5}), tensor(6, {1, 1, 2, 5})}}));  // two tensors 2
  auto const [graph, status] = graph_of({{a, b, c}});
  BOOST_CHECK(status == CUDNN_STATUS_SUCCESS);

  cudnnHandle_t handle = nullptr;
  cudnnCreate(&handle);
  void* const heuristic = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  set(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, part, graph);
  set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
  cudnnBackendFinalize(heuristic);
  void* configuration = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  std::int64_t found = 0;
  cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, part, 1, &found, &configuration);
  void* const plan = create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
  set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, part, configuration);
  BOOST_CHECK(cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS);

  alignas(16) float x[] = {1, 2, 3, 4, 5, 6}, y[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}, z[8], scratch[64];
  auto const execute = [&](std::vector<std::int64_t> numbers, std::vector<void*> places) {
    void* const pack = create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, std::ssize(numbers),
                             numbers.data());
    cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, std::ssize(places),
                             places.data());
    set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, static_cast<void*>(scratch));
    cudnnStatus_t const finalized = cudnnBackendFinalize(pack);
    return finalized == CUDNN_STATUS_SUCCESS ? cudnnBackendExecute(handle, plan, pack) : finalized;
  };
  BOOST_CHECK(execute({1, 2}, {x, y}) == CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
  BOOST_CHECK(execute({1, 2, 3, 7}, {x, y, z, z}) == CUDNN_STATUS_BAD_PARAM);
  BOOST_CHECK(execute({1, 2, 2}, {x, y, z}) == CUDNN_STATUS_BAD_PARAM_DUPLICATED_ENTRIES);
  BOOST_CHECK(execute({1, 2, 3}, {x + 1, y, z}) == CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER);
  BOOST_CHECK(execute({1, 2, 3}, {x, y, z}) == CUDNN_STATUS_SUCCESS);
  BOOST_CHECK(z[0] == 1 && z[1] == 2 && z[2] == 3 && z[3] == 0 && z[6] == 6);
  for (void* d : made) cudnnBackendDestroyDescriptor(d);
  cudnnDestroy(handle);
}
