# oneDNN as the target oneDNN::oneDNN, and oneDNN_VERSION. Not by its own dnnl-config.cmake: Debian's asks for OpenCL, which the
# CPU kernels never use.
find_path(SELENITE_ONEDNN_INCLUDE dnnl.hpp)
find_library(SELENITE_ONEDNN_LIBRARY dnnl)
if(SELENITE_ONEDNN_INCLUDE)
  # dnnl_version.h lies under oneapi/dnnl; the one beside dnnl.hpp only includes it
  file(STRINGS ${SELENITE_ONEDNN_INCLUDE}/oneapi/dnnl/dnnl_version.h lines REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" lines "${lines}")
  string(REPLACE ";" "." oneDNN_VERSION "${lines}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(oneDNN REQUIRED_VARS SELENITE_ONEDNN_LIBRARY SELENITE_ONEDNN_INCLUDE VERSION_VAR oneDNN_VERSION)
if(oneDNN_FOUND AND NOT TARGET oneDNN::oneDNN)
  add_library(oneDNN::oneDNN UNKNOWN IMPORTED)
  set_target_properties(oneDNN::oneDNN PROPERTIES IMPORTED_LOCATION ${SELENITE_ONEDNN_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${SELENITE_ONEDNN_INCLUDE})
endif()
