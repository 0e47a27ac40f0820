# One compiler, one language level, warnings as errors. g++ 12 miscompiles coroutines without a
# word, so nothing but clang 19 or newer is let in.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
  message(FATAL_ERROR "Moraine needs clang 19 or newer (found ${CMAKE_CXX_COMPILER_ID} "
    "${CMAKE_CXX_COMPILER_VERSION}). Use a preset: cmake --preset release")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

# Assertions stay on everywhere (no NDEBUG): Debian's RocksDB is built that way too.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
# A test's own code is compiled in two thirds of the time so, and runs as fast: what it tests is in a
# library.
set(MORAINE_TEST_OPTIONS "$<$<CONFIG:Release>:-O1>")

set(MORAINE_SANITIZE "" CACHE STRING "Sanitizers, for example address,undefined or thread")
add_library(moraine_flags INTERFACE)
target_compile_options(moraine_flags INTERFACE
  -Wall -Wextra -Wpedantic -Werror -Wthread-safety -Wimplicit-fallthrough -Wnon-virtual-dtor
  -Woverloaded-virtual -Wno-gnu-zero-variadic-macro-arguments)
target_include_directories(moraine_flags INTERFACE "${CMAKE_SOURCE_DIR}")
if(MORAINE_SANITIZE)
  add_compile_options(-fsanitize=${MORAINE_SANITIZE} -fno-omit-frame-pointer -O1)
  add_link_options(-fsanitize=${MORAINE_SANITIZE})
  # Coverage for the fuzz targets (moraine_fuzz), which link the same libraries.
  if(MORAINE_SANITIZE MATCHES "address")
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
else()
  add_compile_options("$<$<CONFIG:Release>:-D_FORTIFY_SOURCE=2>" -fstack-protector-strong)
endif()
add_link_options(-fuse-ld=lld-19 -Wl,-z,relro,-z,now)

# Paths inside the tree do not count, so that build directories and clones share one cache. A
# precompiled header counts by its text (cmake/Precompiled.cmake).
find_program(MORAINE_CCACHE ccache)
find_program(MORAINE_ENV env)
if(MORAINE_CCACHE AND MORAINE_ENV)
  set(launcher "${MORAINE_ENV}" CCACHE_NOHASHDIR=1 "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}"
    CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_PCH_EXTSUM=1 "${MORAINE_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER "${launcher}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${launcher}")
endif()
