# Proofs that the build makes of its own structure, part of `all` as target `checks`:
#   link.NAME     all of one library links with nothing but what it declares
#   headers_NAME  every header of a library compiles alone
# The sanitizer builds leave them out: they would prove the same again.

# One program per library that holds the whole archive: an undeclared dependency is an undefined symbol.
function(moraine_link_check NAME)
  set(main "${CMAKE_BINARY_DIR}/checks/empty_main.cc")
  file(CONFIGURE OUTPUT "${main}" CONTENT "int main() { return 0; }\n")
  add_executable(link_${NAME} "${main}")
  target_link_libraries(link_${NAME} PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,moraine_${NAME}>")
  set_target_properties(link_${NAME} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/checks")
  add_test(NAME link.${NAME} COMMAND link_${NAME})
  set_tests_properties(link.${NAME} PROPERTIES LABELS unit)
  add_dependencies(checks link_${NAME})
endfunction()

# x.h beside an x.cc is proved by x.cc, which includes it first (test/tidy sees to that); the others
# get a source file of their own.
function(moraine_header_check NAME)
  get_property(headers GLOBAL PROPERTY MORAINE_HEADERS_${NAME})
  get_property(sources GLOBAL PROPERTY MORAINE_SOURCES_${NAME})
  get_property(dir GLOBAL PROPERTY MORAINE_DIR_${NAME})
  set(units "")
  foreach(header IN LISTS headers)
    string(REGEX REPLACE "\\.h$" ".cc" source "${header}")
    if(NOT source IN_LIST sources)
      file(RELATIVE_PATH path "${CMAKE_SOURCE_DIR}" "${dir}/${header}")
      string(REPLACE "/" "_" unit "${path}")
      set(unit "${CMAKE_BINARY_DIR}/checks/${unit}.cc")
      file(CONFIGURE OUTPUT "${unit}" CONTENT "#include \"${path}\"\n")
      list(APPEND units "${unit}")
    endif()
  endforeach()
  if(units)
    add_library(headers_${NAME} OBJECT ${units})
    target_compile_options(headers_${NAME} PRIVATE -O0 -g0)
    # The declared libraries only, for their include paths and definitions.
    target_link_libraries(headers_${NAME} PRIVATE moraine_${NAME})
    add_dependencies(checks headers_${NAME})
  endif()
endfunction()

function(moraine_add_checks)
  if(MORAINE_SANITIZE)
    return()
  endif()
  add_custom_target(checks ALL)
  get_property(libraries GLOBAL PROPERTY MORAINE_LIBRARIES)
  foreach(name IN LISTS libraries)
    moraine_link_check(${name})
    moraine_header_check(${name})
  endforeach()
  find_program(MORAINE_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
  add_test(NAME tidy COMMAND "${MORAINE_PYTHON}" "${CMAKE_SOURCE_DIR}/test/tidy"
    --floors "${CMAKE_BINARY_DIR}/floors.txt")
  set_tests_properties(tidy PROPERTIES LABELS unit)
endfunction()
