# cuDNN as the target CUDNN::CUDNN, and CUDNN_VERSION: where CMAKE_PREFIX_PATH (as Spack sets it) or CUDNN_ROOT leads, in the CUDA
# toolkit's folder, or in the folder that pip's nvidia-cudnn package installs for the Python found first
# (site-packages/nvidia/cudnn).
find_package(Python3 QUIET COMPONENTS Interpreter)
if(Python3_FOUND)
  execute_process(COMMAND ${Python3_EXECUTABLE} -c "import sysconfig, site; print(';'.join([sysconfig.get_paths()['purelib'], site.getusersitepackages()]))"
                  OUTPUT_VARIABLE python_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
list(TRANSFORM python_folders APPEND /nvidia/cudnn)
find_path(SELENITE_CUDNN_INCLUDE cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATHS ${python_folders} PATH_SUFFIXES include)
find_library(SELENITE_CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} PATHS ${python_folders} PATH_SUFFIXES lib lib64)
if(SELENITE_CUDNN_INCLUDE)
  file(STRINGS ${SELENITE_CUDNN_INCLUDE}/cudnn_version.h lines REGEX "define CUDNN_(MAJOR|MINOR|PATCHLEVEL) +[0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" lines "${lines}")
  string(REPLACE ";" "." CUDNN_VERSION "${lines}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CUDNN REQUIRED_VARS SELENITE_CUDNN_LIBRARY SELENITE_CUDNN_INCLUDE VERSION_VAR CUDNN_VERSION)
if(CUDNN_FOUND AND NOT TARGET CUDNN::CUDNN)
  add_library(CUDNN::CUDNN UNKNOWN IMPORTED GLOBAL)  # the tests ask whether there is one
  set_target_properties(CUDNN::CUDNN PROPERTIES IMPORTED_LOCATION ${SELENITE_CUDNN_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${SELENITE_CUDNN_INCLUDE})
endif()
