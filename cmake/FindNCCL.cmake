# NCCL as the target NCCL::NCCL, and NCCL_VERSION: where CMAKE_PREFIX_PATH or NCCL_ROOT leads, in the CUDA toolkit's folder, or in
# the folder that pip's nvidia-nccl package installs for the Python found first (site-packages/nvidia/nccl).
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  execute_process(COMMAND ${Python3_EXECUTABLE} -c "import sysconfig, site; print(';'.join([sysconfig.get_paths()['purelib'], site.getusersitepackages()]))"
                  OUTPUT_VARIABLE python_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
list(TRANSFORM python_folders APPEND /nvidia/nccl)
find_path(SELENITE_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${python_folders} PATH_SUFFIXES include)
find_library(SELENITE_NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ${CUDAToolkit_LIBRARY_DIR} PATHS ${python_folders} PATH_SUFFIXES lib lib64)
if(SELENITE_NCCL_INCLUDE)
  file(STRINGS ${SELENITE_NCCL_INCLUDE}/nccl.h lines REGEX "define NCCL_(MAJOR|MINOR|PATCH) +[0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" lines "${lines}")
  string(REPLACE ";" "." NCCL_VERSION "${lines}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NCCL REQUIRED_VARS SELENITE_NCCL_LIBRARY SELENITE_NCCL_INCLUDE VERSION_VAR NCCL_VERSION)
if(NCCL_FOUND AND NOT TARGET NCCL::NCCL)
  add_library(NCCL::NCCL UNKNOWN IMPORTED)
  set_target_properties(NCCL::NCCL PROPERTIES IMPORTED_LOCATION ${SELENITE_NCCL_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${SELENITE_NCCL_INCLUDE})
endif()
