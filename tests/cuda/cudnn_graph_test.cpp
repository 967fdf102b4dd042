// What cuDNN itself says of attention's graphs, for an H100 that it is told of: no device is needed for that. Plans
// are: they are compiled by the driver.
#define BOOST_TEST_MODULE cudnn_graph
#include <boost/test/unit_test.hpp>
#include <string>

#include "core/error.hpp"
#include "kernels/attention/cudnn_attention.hpp"

using namespace selenite;
using namespace selenite::cudnn;

namespace {

/// As cudaGetDeviceProperties has them, under the names of cuDNN 9.8 and later.
constexpr std::string_view h100 =
    R"({"deviceName": "NVIDIA H100 80GB HBM3", "deviceVer": 900, "driverVer": 13000, "cudaDeviceId": 0,
        "pciDeviceId": 0, "isTccDriver": 0, "supportCoopLaunch": 1, "totalGlobalMem": 85000000000,
        "multiProcessorCount": 132, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000, "l2CacheSize": 52428800,
        "warpSize": 32, "regsPerBlock": 65536, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
        "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "maxGridSize": [2147483647, 65535, 65535],
        "maxBlockSize": [1024, 1024, 64], "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
        "reservedSharedMemoryPerBlock": 1024})";

/// Engines that the library proposes for a problem on that device.
std::int64_t proposals(Problem const& problem) {
  Descriptor const properties = device_properties(h100);
  Target const target{.properties = properties.get()};
  GraphBuilder builder;
  return cudnn::proposals(target, make_graph(builder, target, problem));
}

Problem problem(std::int64_t queries, std::int64_t keys, std::int64_t heads, std::int64_t kv_heads,
                std::int64_t head_dim) {
  Problem p{.samples = 2, .queries = queries, .keys = keys, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
  std::int64_t const wide = (heads + 2 * kv_heads) * head_dim, narrow = heads * head_dim;
  p.q = p.dq = {queries * wide, wide}, p.out = p.dout = {queries * narrow, narrow};
  p.k = p.v = p.dk = p.dv = {keys * wide, wide};
  return p;
}

}  // namespace

BOOST_AUTO_TEST_CASE(it_has_engines_for_all_that_it_is_given) {
  for (Problem p : {problem(1024, 1024, 12, 12, 64), problem(4096, 4096, 32, 8, 128), problem(200, 200, 4, 2, 80),
                    problem(2048, 1024, 16, 16, 64), problem(17, 33, 1, 1, 8), problem(512, 512, 2, 2, 256)})
    for (DType const type : {DType::bf16, DType::fp16})
      for (bool const causal : {true, false})
        for (bool const backward : {false, true})
          for (bool const deterministic : {false, true}) {
            if (deterministic && !backward) continue;
            p.dtype = type, p.causal = causal, p.backward = backward, p.deterministic = deterministic;
            BOOST_TEST_CONTEXT(name(type) << " " << p.queries << " x " << p.keys << ", heads of " << p.head_dim
                                          << (causal ? ", causal" : ", all") << (backward ? ", backward" : ", forward")
                                          << (deterministic ? ", deterministic" : "")) {
              BOOST_CHECK_GE(proposals(p), 1);
            }
          }
}

BOOST_AUTO_TEST_CASE(it_has_engines_for_documents) {
  for (Problem p : {problem(1024, 1024, 12, 12, 64), problem(4096, 4096, 32, 8, 128), problem(256, 256, 4, 2, 80)})
    for (bool const backward : {false, true})
      for (bool const deterministic : {false, true}) {
        if (deterministic && !backward) continue;
        p.causal = p.documents = true, p.backward = backward, p.deterministic = deterministic;
        p.starts = {p.queries, 1};
        BOOST_CHECK_GE(proposals(p), 1);
      }
}

BOOST_AUTO_TEST_CASE(it_refuses_what_does_not_fit) {
  GraphBuilder g;
  Value const a = g.in_memory(1, DType::bf16, packed({1, 2, 64, 32})),
              b = g.in_memory(2, DType::bf16, packed({1, 2, 48, 64})),
              c = g.in_memory(3, DType::bf16, packed({1, 2, 64, 64}));
  BOOST_CHECK_THROW(g.matmul(a, b, c), Error);
}
