# Build settings shared by every folder, and the two functions that declare a library and a kernel.
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_program(SELENITE_CCACHE ccache)
if(SELENITE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SELENITE_CCACHE})
endif()

if(SELENITE_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES 90 CACHE STRING "GPU architectures of the CUDA backend (80, 90, 100, ...)")
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})  # nvcc need not be in PATH
    find_program(SELENITE_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(SELENITE_NVCC)
      set(CMAKE_CUDA_COMPILER ${SELENITE_NVCC})
    endif()
  endif()
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 20)
  foreach(kind STANDARD EXTENSION)  # CMake 3.25 does not know the flag of nvcc 13
    if(NOT CMAKE_CUDA20_${kind}_COMPILE_OPTION)
      set(CMAKE_CUDA20_${kind}_COMPILE_OPTION "-std=c++20")
    endif()
  endforeach()
  find_package(CUDAToolkit 12.4 REQUIRED)
  if(SELENITE_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${SELENITE_CCACHE})
  endif()
endif()

# Options of the files that compute on the CPU.
if(SELENITE_CPU_ARCH)
  set(SELENITE_MARCH -march=${SELENITE_CPU_ARCH})
endif()
set(SELENITE_CPU_OPTIONS ${SELENITE_MARCH} -fno-math-errno -fno-trapping-math)
# A debug build optimizes what computes and, less, the libraries; programs and tests not at all: they run once and compile long.
set(SELENITE_COMPUTES $<$<CONFIG:Debug>:-O2>)

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)

add_library(selenite_settings INTERFACE)
target_include_directories(selenite_settings INTERFACE ${PROJECT_SOURCE_DIR}/lib ${PROJECT_SOURCE_DIR})
# -Wrestrict: false positives on std::string + in GCC 12 (its bug 105651)
target_compile_options(selenite_settings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wnon-virtual-dtor;-Wno-missing-field-initializers;-Wno-psabi>"
  "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-restrict>")
if(SELENITE_UNITY)  # what these warn of is harmless where a file includes others
  target_compile_options(selenite_settings INTERFACE "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>")
else()
  target_compile_options(selenite_settings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wshadow>)
endif()
if(SELENITE_WERROR)
  target_compile_options(selenite_settings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
# core's constexpr functions (Philox, masks) are device code too
set(SELENITE_HOST_WARNINGS -Wall -Wextra -Wno-missing-field-initializers -Wno-psabi)
target_compile_options(selenite_settings INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xcompiler=$<JOIN:${SELENITE_HOST_WARNINGS},$<COMMA>>>")
if(SELENITE_WERROR)
  target_compile_options(selenite_settings INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Werror all-warnings>" $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Werror>)
endif()
if(SELENITE_SANITIZE)
  target_compile_options(selenite_settings INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined;-fno-sanitize-recover=undefined;-fno-omit-frame-pointer>")
  # -Wmaybe-uninitialized: GCC sees through instrumented code badly (false positives inside std::regex)
  target_compile_options(selenite_settings INTERFACE
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-maybe-uninitialized>)
  target_link_options(selenite_settings INTERFACE -fsanitize=address,undefined)
  target_compile_definitions(selenite_settings INTERFACE SELENITE_POISON=1)
endif()

# selenite_library(<folder> [SOURCES ...] [LINK ...] [PRIVATE_LINK ...]): the target of one folder under lib/.
function(selenite_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(selenite_${name} STATIC ${arg_SOURCES})
  target_compile_options(selenite_${name} PRIVATE $<$<CONFIG:Debug>:-O1>)
  set_target_properties(selenite_${name} PROPERTIES UNITY_BUILD ${SELENITE_UNITY})
  foreach(source IN LISTS arg_SOURCES)
    if(source MATCHES "_missing\\.cpp$")  # a test can put what is missing in its place
      set_source_files_properties(${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
  endforeach()
  target_link_libraries(selenite_${name} PUBLIC selenite_settings ${arg_LINK} PRIVATE ${arg_PRIVATE_LINK})
endfunction()

# Files of the current folder that a CUDA build has: the host shim of the tests compiles them too.
function(selenite_cuda_sources)
  foreach(source IN LISTS ARGN)
    set_property(GLOBAL APPEND PROPERTY SELENITE_CUDA_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
endfunction()

# A file whose launch(Cuda&, ...) of these structs throws; appended to the list named `list`.
function(selenite_missing_kernels name op list)
  if(NOT ARGN)
    return()
  endif()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp)
  set(text "#include \"kernels/${op}/${op}.hpp\"\n#include \"core/error.hpp\"\nnamespace selenite {\n")
  foreach(struct IN LISTS ARGN)
    string(APPEND text "void launch(Cuda&, ${struct} const&) {\n  throw Error(\"There is no CUDA kernel for ${struct} (this build has no CUDA backend for it). Use run.backend = \\\"cpu\\\", or build with -DSELENITE_CUDA=ON.\");\n}\n")
  endforeach()
  string(APPEND text "}  // namespace selenite\n")
  file(CONFIGURE OUTPUT ${file} CONTENT "${text}" @ONLY)
  set(${list} ${${list}} ${file} PARENT_SCOPE)
endfunction()

# selenite_kernel(<op> OPS <struct>... [SOURCES ...] [CUDA_SOURCES <file>... [CUDA_OPS <struct>...] [CUDA_LINK ...]] [PRIVATE_LINK ...]):
# adds each backend file of kernels/<op>/ that exists and is enabled. The CUDA file is <op>_cuda.cu unless CUDA_SOURCES says otherwise,
# and has all OPS unless CUDA_OPS names those it has; .cu is compiled by nvcc, .cpp (host code of a library) by the C++ compiler. For
# each op without an enabled backend file it generates one whose launch throws a clear error, since otherwise it would be a link error.
function(selenite_kernel op)
  cmake_parse_arguments(arg "" "" "OPS;SOURCES;CUDA_SOURCES;CUDA_OPS;CUDA_LINK;PRIVATE_LINK" ${ARGN})
  set(sources ${op}_reference.cpp ${op}_cpu.cpp ${arg_SOURCES})
  foreach(source IN LISTS sources)
    if(source MATCHES "_cpu")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${SELENITE_CPU_OPTIONS}")
    endif()
  endforeach()
  if(NOT arg_CUDA_SOURCES AND EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${op}_cuda.cu)
    set(arg_CUDA_SOURCES ${op}_cuda.cu)
  endif()
  if(arg_CUDA_SOURCES AND NOT arg_CUDA_OPS)
    set(arg_CUDA_OPS ${arg_OPS})
  endif()
  selenite_cuda_sources(${arg_CUDA_SOURCES})
  if(arg_CUDA_OPS)
    list(REMOVE_ITEM arg_OPS ${arg_CUDA_OPS})
  endif()
  set(disabled_ops)
  if(SELENITE_CUDA)
    list(APPEND sources ${arg_CUDA_SOURCES})
  else()
    set(disabled_ops ${arg_CUDA_OPS})  # a file of their own, so that a test can put theirs in its place
  endif()
  selenite_missing_kernels(${op}_cuda_missing ${op} sources ${arg_OPS})
  selenite_missing_kernels(${op}_cuda_disabled ${op} sources ${disabled_ops})
  add_library(selenite_kernel_${op} STATIC ${sources})
  target_compile_options(selenite_kernel_${op} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SELENITE_COMPUTES}>)
  target_link_libraries(selenite_kernel_${op} PUBLIC selenite_core PRIVATE ${arg_PRIVATE_LINK})
  if(SELENITE_CUDA)
    target_link_libraries(selenite_kernel_${op} PRIVATE CUDA::cudart_static ${arg_CUDA_LINK})
  endif()
  target_link_libraries(selenite_kernels INTERFACE selenite_kernel_${op})
endfunction()

# selenite_test(<name> SOURCES ... LINK ... [LABELS ...] [TIMEOUT s] [ARGS ...]): one Boost.Test executable, one CTest entry.
function(selenite_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINK;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES UNITY_BUILD ${SELENITE_UNITY})
  foreach(source IN LISTS arg_SOURCES)
    file(STRINGS ${source} main REGEX "define BOOST_TEST_MODULE")
    if(main)  # says so before Boost.Test's header is read
      set_source_files_properties(${source} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endif()
  endforeach()
  target_link_libraries(${name} PRIVATE ${arg_LINK} selenite_settings Boost::unit_test_framework)
  target_compile_options(${name} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1>)  # what is to be fast is in the libraries
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} ${arg_ARGS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 900)  # sanitizers on a busy machine
  endif()
  # several tests share the cores: threads that spin while they wait would take them from each other
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "OMP_WAIT_POLICY=passive")
endfunction()

# selenite_mpi_test(<executable> RANKS <n>...): CTest entries that run a test executable under mpirun, <executable>_<n>.
# A message of a missing launcher at configure time instead of a test that looks green.
function(selenite_mpi_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "RANKS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  find_program(SELENITE_MPIRUN mpirun)
  if(NOT SELENITE_MPI OR NOT SELENITE_MPIRUN)
    message(WARNING "There is no MPI: ${name} is left out.")
    return()
  endif()
  foreach(ranks IN LISTS arg_RANKS)
    add_test(NAME ${name}_${ranks} COMMAND ${SELENITE_MPIRUN} -n ${ranks} --oversubscribe --allow-run-as-root $<TARGET_FILE:${name}>
             WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(${name}_${ranks} PROPERTIES LABELS mpi TIMEOUT ${arg_TIMEOUT} PROCESSORS 2
                         ENVIRONMENT "OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_mpi_yield_when_idle=1;OMP_NUM_THREADS=1")
  endforeach()
endfunction()
