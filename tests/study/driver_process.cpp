// study_test_driver STUDY FOLDER PROGRAM: runs a study, as selenite-sweep does, so that a test can kill it.
#include <atomic>
#include <iostream>

#include "study/driver.hpp"

int main(int argc, char** argv) try {
  if (argc != 4) return 2;
  static std::atomic<int> const stop = 0;
  selenite::Study const study = selenite::load_study(argv[1]);
  auto const points = selenite::expand(study);
  auto const summary = run_study(study, points, {argv[2], argv[3]}, stop, [](selenite::StudyEvent const&) {});
  return summary.failed ? 3 : 0;
} catch (std::exception const& e) {
  std::cerr << e.what() << std::endl;
  return 1;
}
