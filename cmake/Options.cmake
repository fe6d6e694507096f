option(ATOLL_TESTS "Build the unit tests" ON)
option(ATOLL_FUZZ "Build the fuzzers (clang only)" OFF)
option(ATOLL_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(ATOLL_WERROR "Treat warnings as errors" ON)

add_library(atoll_flags INTERFACE)
target_compile_options(atoll_flags INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers)
if(ATOLL_WERROR)
  target_compile_options(atoll_flags INTERFACE -Werror)
endif()
target_compile_options(atoll_flags INTERFACE $<$<CONFIG:Release>:-fstack-protector-strong>)
target_compile_definitions(atoll_flags INTERFACE ATOLL_VERSION="${PROJECT_VERSION}"
                           $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>
                           $<$<CONFIG:Release>:_GLIBCXX_ASSERTIONS>)
if(ATOLL_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(ATOLL_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
add_link_options(-fuse-ld=lld-19)

# Asio is compiled once, in src/async/asio_impl.cc.
add_compile_definitions(BOOST_ASIO_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED)
