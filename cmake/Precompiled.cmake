# Precompiled headers, for the time of a build from nothing: what most sources include of the C++
# library and of other people's is parsed once for each kind of target, a third of the work. No
# header of ours is in there.
#
# A source may then lack an include without anybody noticing, so this is for the release build only:
# the sanitizer builds, which have the same libraries and tests, and the header check prove the
# includes. Programs are a few small sources that no sanitizer build has; they go without.
option(MORAINE_PRECOMPILE "Use precompiled headers" OFF)

set(MORAINE_PRECOMPILED_HEADERS <algorithm> <array> <atomic> <chrono> <coroutine> <cstdint> <cstring>
  <functional> <map> <memory> <optional> <set> <span> <string> <string_view> <unordered_map>
  <utility> <vector> <fmt/format.h> <tl/expected.hpp> <thrift/protocol/TCompactProtocol.h>
  <thrift/transport/TBufferTransports.h> <thrift/TApplicationException.h>)

# The target that has the precompiled headers of one KIND (library, test): they must be compiled with
# the options of those that use them, and position independent code is another for a program.
function(moraine_precompile_for KIND)
  set(anchor moraine_pch_${KIND})
  set(source "${CMAKE_BINARY_DIR}/pch/${KIND}.cc")
  if(KIND STREQUAL "library")
    file(CONFIGURE OUTPUT "${source}" CONTENT "")
    add_library(${anchor} OBJECT "${source}")
  else()
    file(CONFIGURE OUTPUT "${source}" CONTENT "int main() { return 0; }\n")
    add_executable(${anchor} "${source}")
    set_target_properties(${anchor} PROPERTIES
      RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/pch")
  endif()
  set(headers ${MORAINE_PRECOMPILED_HEADERS})
  set(libraries fmt::fmt spdlog::spdlog tl::expected PkgConfig::thrift)
  if(KIND STREQUAL "test")
    list(APPEND headers <gmock/gmock.h> <gtest/gtest.h>)
    list(APPEND libraries GTest::gmock GTest::gtest_main)
    target_compile_options(${anchor} PRIVATE ${MORAINE_TEST_OPTIONS})
  endif()
  target_link_libraries(${anchor} PRIVATE moraine_flags ${libraries})
  target_precompile_headers(${anchor} PRIVATE ${headers})
  # The file names this build directory, so it is of no use to another one. Objects are: for ccache
  # they depend on the text of the headers, which the .sum beside the file stands for.
  set_target_properties(${anchor} PROPERTIES CXX_COMPILER_LAUNCHER "")
  set(folder "${CMAKE_BINARY_DIR}/CMakeFiles/${anchor}.dir")
  add_custom_command(OUTPUT "${folder}/cmake_pch.hxx.pch.sum"
    COMMAND "${CMAKE_CXX_COMPILER}" -std=c++20 -w -E -dD -P -x c++ cmake_pch.hxx -o cmake_pch.text
    COMMAND "${CMAKE_COMMAND}" -E sha256sum cmake_pch.text > cmake_pch.hxx.pch.sum
    COMMAND "${CMAKE_COMMAND}" -E rm cmake_pch.text
    WORKING_DIRECTORY "${folder}" DEPENDS "${folder}/cmake_pch.hxx.pch" VERBATIM
    COMMENT "Naming the precompiled headers of kind ${KIND} for ccache")
  add_custom_target(${anchor}_sum DEPENDS "${folder}/cmake_pch.hxx.pch.sum")
endfunction()

if(MORAINE_PRECOMPILE)
  # Without CMake's further `-include cmake_pch.hxx`, which repeats what is in the file already and
  # is a path of this build directory for ccache.
  set(CMAKE_CXX_COMPILE_OPTIONS_USE_PCH -Xclang -include-pch -Xclang <PCH_FILE>)
  moraine_precompile_for(library)
  moraine_precompile_for(test)
endif()

# Gives TARGET the headers of its KIND.
function(moraine_precompiled TARGET KIND)
  if(MORAINE_PRECOMPILE)
    target_precompile_headers(${TARGET} REUSE_FROM moraine_pch_${KIND})
    add_dependencies(${TARGET} moraine_pch_${KIND}_sum)
  endif()
endfunction()
