# chatglm_module(NAME SOURCES ... DEPENDS ...): one static library per folder of csrc/, all compiled
# with the same language level and warnings. chatglm_program and chatglm_test are its siblings.

add_library(chatglm_options INTERFACE)
target_compile_features(chatglm_options INTERFACE cxx_std_20)
target_include_directories(chatglm_options INTERFACE "${PROJECT_SOURCE_DIR}/csrc")
target_compile_definitions(chatglm_options INTERFACE CHATGLM_VERSION="${PROJECT_VERSION}")
if(MSVC)
  target_compile_options(chatglm_options INTERFACE /W4 /utf-8 $<$<BOOL:${CHATGLM_WERROR}>:/WX>)
  target_compile_definitions(chatglm_options INTERFACE NOMINMAX WIN32_LEAN_AND_MEAN)
else()
  target_compile_options(chatglm_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wno-psabi>"
    "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${CHATGLM_WERROR}>>:-Werror>")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # Warns about std::string's own operator+ (GCC bug 105651).
    target_compile_options(chatglm_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>")
  endif()
endif()
if(CHATGLM_CUDA)
  # No contraction, as for the CPU's instruction sets: where a fused multiply-add is meant, the code
  # says fmaf. A line of PTX is no pedantry.
  target_compile_options(chatglm_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;-Xcompiler=-Wall,-Wextra>"
    "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${CHATGLM_WERROR}>>:-Werror=all-warnings;-Xcompiler=-Werror>")
endif()
if(CHATGLM_SANITIZE)
  target_compile_options(chatglm_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${CHATGLM_SANITIZE}>"
    "$<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g>")
  target_link_options(chatglm_options INTERFACE -fsanitize=${CHATGLM_SANITIZE})
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

function(chatglm_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(chatglm_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(chatglm_${name} PUBLIC chatglm_options)
  foreach(dependency IN LISTS ARG_DEPENDS)
    target_link_libraries(chatglm_${name} PUBLIC chatglm_${dependency})
  endforeach()
endfunction()

function(chatglm_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE chatglm_options)
  foreach(dependency IN LISTS ARG_DEPENDS)
    target_link_libraries(${name} PRIVATE chatglm_${dependency})
  endforeach()
endfunction()

# Where users find a program: beside Python's own in a wheel, else in bin/.
function(chatglm_install_program name)
  if(SKBUILD)
    install(TARGETS ${name} DESTINATION "${SKBUILD_SCRIPTS_DIR}")
  else()
    install(TARGETS ${name} DESTINATION bin)
  endif()
endfunction()
